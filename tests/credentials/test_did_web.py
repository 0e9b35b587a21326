"""did:web: from DID to URL by the published vectors, and what never becomes a URL."""

import contextlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from credentials import did_web
from credentials.errors import DidError
from credentials.settings import CredentialSettings

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "did_web_vectors.json").read_text())


@pytest.mark.parametrize("row", VECTORS["mapping"], ids=lambda row: row["did"])
def test_published_mappings(row: dict[str, str]) -> None:
    assert did_web.url(row["did"]) == row["url"]


@pytest.mark.parametrize("row", VECTORS["invalid"], ids=lambda row: row["why"])
def test_published_refusals(row: dict[str, str]) -> None:
    with pytest.raises(DidError) as caught:
        did_web.url(row["did"])
    assert caught.value.code in {"invalidDid", "methodNotSupported"}
    assert row["did"] not in str(caught.value)


def test_the_vectors_are_all_there() -> None:
    assert (len(VECTORS["mapping"]), len(VECTORS["invalid"])) == (9, 27)


@pytest.mark.parametrize(
    "did",
    [
        "did:web:1.2.3", "did:web:0x7f000001", "did:web:1.0x", "did:web:a.1", "did:web:[::1]",
        "did:web:a.example.", "did:web:.example", "did:web:a..example", "did:web:-a.example",
        "did:web:a_b.example", "did:web:a.example%3A01", "did:web:a.example%3A65536",
        "did:web:a.example%3A+80", "did:web:a.example%3a", "did:web:a%2Eexample",
        f"did:web:{'a' * 64}.example", f"did:web:{'.'.join(['a' * 60] * 5)}",
        "did:web:a.example:%2F", "did:web:a.example:%5c", "did:web:a.example:%0a",
        "did:web:a.example:%7f", "did:web:a.example:.", "did:web:a.example:%2e",
        "did:web:a.example:a/b", "did:web:a.example:a?b", "did:web:a.example:a#b",
        "did:web:a.example:%", "did:web:a.example:%zz", "did:web:a.example:" + "a" * 2_048,
    ],
)  # fmt: skip
def test_more_refusals(did: str) -> None:
    with pytest.raises(DidError) as caught:
        did_web.url(did)
    assert caught.value.code == "invalidDid"


def test_a_domain_is_as_long_as_dns_allows() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert (len(longest), did_web.is_domain(longest), did_web.is_domain(f"{longest}a")) == (
        253,
        True,
        False,
    )


@given(st.one_of(st.text(), st.text().map("did:web:".__add__), st.from_regex(r"did:web:[!-~]+")))
def test_a_url_never_names_another_place(did: str) -> None:
    """The host is the first part, letter by letter, and no part of the path climbs or joins."""
    with contextlib.suppress(DidError):
        parts = urlsplit(did_web.url(did))
        domain, path = did_web.split(did)
        assert parts.scheme == "https"
        assert parts.netloc == domain.replace("%3A", ":").replace("%3a", ":")
        assert parts.query == parts.fragment == ""
        folder = "/".join(path) or ".well-known"
        assert parts.path == f"/{folder}/did.json"
        assert ".." not in path


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("http://localhost:3000", "localhost%3A3000"),
        ("https://Issuer.Example", "issuer.example"),
        ("https://issuer.example:8443/base", "issuer.example%3A8443"),
        ("https://issuer.example/", "issuer.example"),
        ("http://127.0.0.1:3000", None),
        ("http://[::1]:3000", None),
    ],
)
def test_the_domain_of_an_address(url: str, domain: str | None) -> None:
    assert CredentialSettings(public_url=url).hosting_domain == domain


def test_the_domain_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_URL", "http://127.0.0.1:3000/")
    monkeypatch.setenv("DID_WEB_DOMAIN", "issuer.example%3A8443")
    monkeypatch.setenv("VC_CONTEXTS_DIR", "/contexts")
    settings = CredentialSettings()
    assert settings.hosting_domain == "issuer.example%3A8443"
    assert settings.public_url == "http://127.0.0.1:3000"
    assert settings.contexts_dir == Path("/contexts")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("did_web_domain", "127.0.0.1"),
        ("did_web_domain", "a.example:80"),
        ("did_web_domain", "https://a.example"),
        ("public_url", "localhost:3000"),
        ("public_url", "https://user@a.example"),
        ("public_url", "https://a.example?x"),
        ("public_url", "https://"),
        ("public_url", "https://a.example:x"),
        ("clock_skew_s", 61),
        ("vc_data_model", "3.0"),
        ("ed25519_algorithm", "ES256"),
    ],
)
def test_settings_that_do_not_fit(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        CredentialSettings(**{name: value})
