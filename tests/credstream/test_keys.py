"""`credstream keys rotate`, as an operator runs it."""

import asyncio
import base64
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import streams
from consumers.custody import Custody
from consumers.rotation import Report
from consumers.settings import WorkerSettings
from credentials.keyring import DEVELOPMENT_FILES, Keyring, KeyringSettings, open_keyring
from credstream.cli import main
from credstream.commands.keys import _Progress, embedded
from credstream.datadir import socket_path


def kek(name: str) -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


OLD, NEW = kek("old"), kek("new")


@pytest.fixture(autouse=True)
def nobody_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CREDSTREAM_KEKS", "CREDSTREAM_KEKS_FILE", "REDIS_URL", "REDIS_HOST", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def seal(redis_url: str, ring: Keyring, count: int = 3) -> list[str]:
    """DIDs whose keys lie in Redis."""

    async def make() -> list[str]:
        redis = streams.connect(redis_url)
        try:
            custody = Custody(redis, ring)
            return [await custody.create_did_key((str(n),), "org-a") for n in range(count)]
        finally:
            await redis.close()

    return asyncio.run(make())


def rotate(*words: str, **env: str) -> Result:
    return CliRunner().invoke(main, ["keys", "rotate", *words], env=env)


def test_a_rotation_and_what_it_says(redis_url: str, raw: Any) -> None:
    dids = seal(redis_url, Keyring.parse(OLD))
    result = rotate(REDIS_URL=redis_url, CREDSTREAM_KEKS=f"{NEW} {OLD}")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rings"]["issuer"]["resealed"] == 3
    for did in dids:
        head = raw.hget(f"cs:vault:{{{did}}}", "jwe").split(b".")[0]
        assert json.loads(base64.urlsafe_b64decode(head + b"=="))["kid"] == "issuer/new"
    # With the new key alone there is nothing left to do.
    result = rotate("--redis-url", redis_url, CREDSTREAM_KEKS=NEW)
    assert result.exit_code == 0
    summary = json.loads(result.stdout)["rings"]["issuer"]
    assert (summary["resealed"], summary["underActiveKek"]) == (0, 3)


def test_what_is_left_is_an_error(redis_url: str) -> None:
    seal(redis_url, Keyring.parse(OLD))
    result = rotate("--redis-url", redis_url, CREDSTREAM_KEKS=NEW)
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert summary["complete"] is False
    issuer = summary["rings"]["issuer"]
    assert issuer["failed"] == {"kek_unknown": 3}
    assert "'issuer/old'" in issuer["problems"][0]
    for secret in (OLD, NEW):
        assert secret.partition(":")[2].rstrip("=") not in result.output


def test_the_ring_of_a_data_directory(redis_url: str, tmp_path: Path) -> None:
    ring = open_keyring(KeyringSettings(), tmp_path, production=False)
    seal(redis_url, ring)
    file = tmp_path / DEVELOPMENT_FILES["issuer"]
    file.write_text(f"{NEW}\n{file.read_text()}")
    result = rotate("--data-dir", str(tmp_path), "--redis-url", redis_url)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rings"]["issuer"]["resealed"] == 3


@pytest.mark.parametrize("env", [{}, {"APP_ENV": "production"}, {"CREDSTREAM_KEKS": "k1:short"}])
def test_without_a_ring_it_does_not_start(redis_url: str, env: dict[str, str]) -> None:
    result = rotate("--redis-url", redis_url, **env)
    assert result.exit_code == 2
    assert "KEK" in result.output


def test_nobody_there() -> None:
    result = rotate("--redis-url", "redis://127.0.0.1:1", CREDSTREAM_KEKS=NEW)
    assert result.exit_code == 3
    assert "Redis is not available" in result.output


def test_the_embedded_server_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = WorkerSettings(data_dir=tmp_path)
    assert embedded(settings) is None
    assert embedded(WorkerSettings()) is None
    socket_path(tmp_path).touch()
    assert str(socket_path(tmp_path)) in (embedded(settings) or "")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6379")
    assert embedded(settings) is None


def test_progress_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    progress = _Progress()
    for count in (0, 999, 1_000, 1_500, 2_100):
        progress(Report("k", resealed=count))
    assert capsys.readouterr().err.splitlines() == [
        "1000 seals renewed so far",
        "2100 seals renewed so far",
    ]
