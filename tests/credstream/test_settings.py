"""`credstream settings`, and the file that settings may come from."""

import importlib
import json
import pkgutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic_settings import BaseSettings

from credstream import environment
from credstream.cli import main
from credstream.commands.settings import SETTINGS

PACKAGES = ("streams", "gateway", "consumers", "credentials", "outbound", "credstream")
DERIVED = {"OwnAddresses", "CaptureSettings", "PlaceSettings", "RingSettings", "Xdg"}
"""Classes that read variables of the others under other rules."""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory without a file, and nothing left of what one set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "from_file", set())
    monkeypatch.setenv("DID_WEB_DOMAIN", "x")
    monkeypatch.delenv("DID_WEB_DOMAIN")  # restored to absent whatever a command sets
    monkeypatch.setenv("REDIS_PASSWORD", "x")
    monkeypatch.delenv("REDIS_PASSWORD")
    monkeypatch.setenv("PORT", "4000")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


def listed(*words: str) -> dict[str, tuple[str, str]]:
    result = run(*words, "settings", "--json")
    assert result.exit_code == 0, result.output
    return {one["name"]: (one["value"], one["source"]) for one in json.loads(result.output)}


def derived(kind: type) -> set[type]:
    return {one for child in kind.__subclasses__() for one in (child, *derived(child))}


def ours(kind: type) -> bool:
    return kind.__module__.split(".")[0] in PACKAGES


def test_every_settings_class_is_listed() -> None:
    for package in PACKAGES:
        place = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(place, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    made = {one.__name__ for one in derived(BaseSettings) if ours(one)}
    assert made - DERIVED == {place.partition(":")[2] for place in SETTINGS}


def test_a_value_its_name_and_its_source(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "DID_WEB_DOMAIN=did.example.org\nPORT=5000\nREDIS_PASSWORD=hush\n"
    )
    found = listed()
    assert found["DID_WEB_DOMAIN"] == ("did.example.org", "file")
    assert found["PORT"] == ("4000", "environment")  # what the environment says wins
    assert found["REDIS_PASSWORD"] == ("(secret)", "file")
    assert "HOST" not in found
    assert "hush" not in run("settings", "--all").output


def test_a_file_of_another_name(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DID_WEB_DOMAIN=one.example.org\n")
    (tmp_path / "other").write_text("DID_WEB_DOMAIN=two.example.org\n")
    assert listed("--env-file", str(tmp_path / "other"))["DID_WEB_DOMAIN"][0] == "two.example.org"


@pytest.mark.parametrize("content", [None, b"\xff\xfe=\xff", b"A=" + b"x" * 300_000])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "other").write_bytes(content)
    result = run("--env-file", str(tmp_path / "other"), "settings")
    assert result.exit_code == 2
    assert str(tmp_path / "other") in result.output
    assert "Traceback" not in result.output


def test_a_setting_that_is_not_valid_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "harbour")
    result = run("settings")
    assert result.exit_code == 2
    assert "PORT" in result.output
