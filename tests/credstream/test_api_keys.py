"""`credstream keys create | list | revoke`, as an operator runs them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import streams
from credstream.cli import main
from gateway.gate import Gate
from gateway.principal import ROLES, Principal
from gateway.settings import GatewaySettings
from streams import access, audit


@pytest.fixture(autouse=True)
def nobody_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "REDIS_HOST", "DATA_DIR", "APP_ENV"):
        monkeypatch.delenv(name, raising=False)


def keys(redis_url: str, *words: str, **env: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words], env={"REDIS_URL": redis_url, **env})


def opens(redis_url: str, text: str) -> Principal:
    """Who a gateway takes this for."""

    async def ask() -> Principal:
        redis = streams.connect(redis_url)
        try:
            return await Gate(redis, GatewaySettings()).principal(text)
        finally:
            await redis.close()

    return asyncio.run(ask())


def deeds(redis_url: str) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        redis = streams.connect(redis_url)
        try:
            found = await audit.page(redis, None, 100, lambda _: True)
            return [dict(one.deed) for one in found.found]
        finally:
            await redis.close()

    return asyncio.run(read())


def test_no_key_is_made_for_the_jobs_of_no_organization(redis_url: str) -> None:
    words = ("--name", "app", "--role", "viewer", "--organization", "default")
    made = keys(redis_url, "create", *words)
    assert made.exit_code == 2
    assert "stands for jobs without one" in made.stderr
    assert not made.stdout


@pytest.mark.parametrize("role", ROLES)
def test_a_key_that_opens(redis_url: str, role: str) -> None:
    made = keys(redis_url, "create", "--name", "app", "--role", role)
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert "\n" not in text, "a script can take it as it is"
    assert text not in made.stderr
    principal = opens(redis_url, text)
    assert principal.scopes == ROLES[role]
    assert (principal.name, principal.is_platform) == ("app", True)


def test_scopes_a_tenant_and_an_end(redis_url: str) -> None:
    words = ("--scopes", "read, read:sensitive", "--organization", "org-1", "--expires", "90d")
    text = keys(redis_url, "create", "--name", "app", *words).stdout.strip()
    assert text.startswith("cs_dev_")
    principal = opens(redis_url, text)
    assert principal.scopes == {"read", "read:sensitive"}
    assert principal.organization_id == "org-1"
    (row,) = json.loads(keys(redis_url, "list", "--json").stdout)
    assert row["expiresAt"] == pytest.approx(row["createdAt"] + 90 * 86_400_000, abs=5_000)
    assert text not in str(row)
    (deed,) = deeds(redis_url)
    assert (deed["action"], deed["target"]) == ("key.create", row["id"])
    assert deed["actor"].startswith("cli")
    assert text not in str(deed)


def test_in_production_a_key_says_so(redis_url: str) -> None:
    made = keys(redis_url, "create", "--name", "x", "--role", "viewer", APP_ENV="production")
    assert made.stdout.startswith("cs_live_")


def test_a_revoked_key(redis_url: str) -> None:
    text = keys(redis_url, "create", "--name", "app", "--role", "viewer").stdout.strip()
    key_id = str(access.key_id_of(text))
    for word in (text, key_id):
        said = keys(redis_url, "revoke", word)
        assert (said.exit_code, text in said.output) == (0, False)
    with pytest.raises(Exception, match="not valid"):
        opens(redis_url, text)
    listed = keys(redis_url, "list")
    assert key_id in listed.stdout
    assert "revoked" in listed.stdout
    assert [deed["action"] for deed in deeds(redis_url)] == ["key.revoke", "key.create"]


def test_a_table_takes_names_as_they_are(redis_url: str) -> None:
    keys(redis_url, "create", "--name", "[red]x[/]", "--role", "viewer")
    assert "[red]x[/]" in keys(redis_url, "list").stdout
    assert keys(redis_url, "list", "--json").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "--role", "viewer"), "--name"),
        (("create", "--name", "x"), "--role or --scopes"),
        (("create", "--name", "x", "--role", "viewer", "--scopes", "read"), "--role or --scopes"),
        (("create", "--name", "x", "--role", "king"), "viewer, submitter"),
        (("create", "--name", "x", "--scopes", "fly"), "read:sensitive"),
        (("create", "--name", "x", "--scopes", "public"), "read:sensitive"),
        (("create", "--name", "x", "--role", "viewer", "--expires", "soon"), "length of time"),
        (("create", "--name", "x", "--role", "viewer", "--organization", ""), "--organization"),
        (("create", "--name", "a\nb", "--role", "viewer"), "printable"),
    ],
)
def test_words_that_do_not_fit(redis_url: str, words: tuple[str, ...], said: str) -> None:
    result = keys(redis_url, *words)
    assert result.exit_code == 2
    assert said in result.output
    assert json.loads(keys(redis_url, "list", "--json").stdout) == []


def test_a_key_that_is_not_there(redis_url: str) -> None:
    most_of_a_key = "cs_live_" + 30 * "x"
    for word in ("nothing", most_of_a_key):
        result = keys(redis_url, "revoke", word)
        assert result.exit_code == 1
        assert "credstream keys list" in result.output
        assert most_of_a_key not in result.output


def test_no_redis_there(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/nothing"
    result = keys(url, "create", "--name", "x", "--role", "viewer")
    assert result.exit_code == 3
    assert result.stdout == ""
