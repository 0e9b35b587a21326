"""What `credstream up` hosts is reached at its own address, unless somebody says another."""

from pathlib import Path

import pytest

from credstream.commands.up import _environment, _plan


def environment(monkeypatch: pytest.MonkeyPatch, public_url: str | None) -> dict[str, str]:
    monkeypatch.delenv("PUBLIC_URL", raising=False)
    if public_url:
        monkeypatch.setenv("PUBLIC_URL", public_url)
    plan = _plan("127.0.0.1", 3999, Path("data"), "redis://127.0.0.1:1")
    return _environment(plan, None)


def test_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment(monkeypatch, None)["PUBLIC_URL"] == "http://localhost:3999"


def test_an_address_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PUBLIC_URL" not in environment(monkeypatch, "https://issuer.example")
