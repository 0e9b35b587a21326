"""`credstream verify`: its answers and, above all, its exit codes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from minting import NOW, Issuer, Key, entry, envelope

from credstream.cli import main

LIST = "https://issuer.example/status/1"
SCHEMA = "https://schema.example/degree.json"
WEB = Issuer(Key("P-256"), "did:web:issuer.example", "did:web:issuer.example#key-1")
ISSUER = Issuer()


def run(*words: object, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["verify", *map(str, words)], input=stdin)


def at(*words: object, stdin: str = "", clock: object = NOW) -> Result:
    """Judge at the time of the tokens; nobody is asked over the network."""
    return run("--clock", clock, *words, stdin=stdin)


def answer(result: Result, exit_code: int) -> Any:
    assert result.exit_code == exit_code, (result.output, result.exception)
    return json.loads(result.stdout)


def file(place: Path, name: str, content: object) -> Path:
    path = place / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_valid_token_in_every_way_it_can_be_given(tmp_path: Path) -> None:
    token = ISSUER.v20()
    expected = {
        "valid": True,
        "claims": {"degree": "Bachelor"},
        "issuer": ISSUER.did,
        "subject": "did:example:subject",
    }
    assert answer(at(token), 0) == expected
    assert answer(at("-", stdin=token + "\n"), 0) == expected
    assert answer(at(file(tmp_path, "a.jwt", f"\n{token}\r\n")), 0) == expected
    assert answer(at(file(tmp_path, "plain", token)), 0) == expected
    assert answer(at(json.dumps(envelope(token))), 0) == expected
    assert answer(at(ISSUER.v11()), 0) == expected


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("not a token", "PARSING_ERROR"),
        (ISSUER.v20() + ".x", "PARSING_ERROR"),
        (ISSUER.v20()[:-8] + "AAAAAAAA", "CRYPTOGRAPHIC_SECURITY_ERROR"),
        (ISSUER.v20({"alg": "none"}), "ALGORITHM_NOT_ALLOWED"),
        (ISSUER.v20(validUntil="2027-01-02T00:00:00Z"), "EXPIRED"),
    ],
)
def test_an_invalid_token(token: str, code: str) -> None:
    result = answer(at(token), 1)
    assert set(result) == {"valid", "error"}
    assert result["error"].startswith(f"{code}: ")


@pytest.mark.parametrize("clock", [NOW, f"{NOW}.5", "2027-01-15T08:00:00Z", "2027-01-15T08:00:00"])
def test_the_clock(clock: object) -> None:
    token = ISSUER.v20(exp=NOW + 10)
    answer(at(token, clock=clock), 0)
    late = answer(at(token, clock="2027-01-15T09:00:00+00:00"), 1)
    assert late["error"].startswith("EXPIRED: ")


def test_documents_from_files(tmp_path: Path) -> None:
    token = WEB.v20(
        credentialStatus=entry(LIST), credentialSchema={"id": SCHEMA, "type": "JsonSchema"}
    )
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA}
    for documents in ({WEB.did: WEB.document()}, [WEB.document()], WEB.document()):
        options = [
            "--did-docs", file(tmp_path, "docs.json", documents),
            "--status-lists", file(tmp_path, "lists.json", {LIST: WEB.status_list(LIST, 6)}),
            "--schemas", file(tmp_path, "schemas.json", {SCHEMA: schema}),
        ]  # fmt: skip
        assert answer(at(token, *options), 0)["issuer"] == WEB.did
    options[1] = file(tmp_path, "docs.json", {WEB.did: ISSUER.document()})
    assert answer(at(token, *options), 1)["error"].startswith("INVALID_DID_DOCUMENT: ")
    options[1] = file(tmp_path, "docs.json", [WEB.document()])
    options[3] = file(tmp_path, "lists.json", {LIST: WEB.status_list(LIST, 5)})
    assert answer(at(token, *options), 1)["error"].startswith("STATUS_REVOKED: ")
    options[5] = file(tmp_path, "schemas.json", {SCHEMA: schema | {"required": ["evidence"]}})
    options[3] = file(tmp_path, "lists.json", {LIST: WEB.status_list(LIST)})
    assert answer(at(token, *options), 1)["error"].startswith("SCHEMA_VALIDATION_ERROR: ")


def test_what_could_not_be_told_is_neither_valid_nor_invalid() -> None:
    closed = "http://127.0.0.1:1/list"
    token = ISSUER.v20(credentialStatus=entry(closed))
    assert answer(at(token), 2)["error"].startswith("STATUS_RETRIEVAL_ERROR: ")
    result = answer(at(token, "--allow-insecure-hosts"), 2)
    assert result["valid"] is False
    assert result["error"].startswith("STATUS_RETRIEVAL_ERROR: ")


def test_the_verifier_and_the_nonce() -> None:
    token = ISSUER.v20(aud="https://verifier.example", nonce="n-1")
    named = ["--verifier", "https://verifier.example"]
    answer(at(token, *named, "--nonce", "n-1"), 0)
    assert answer(at(token, *named, "--nonce", "n"), 1)["error"].startswith("NONCE_MISMATCH: ")
    assert answer(at(token), 1)["error"].startswith("AUDIENCE_MISMATCH: ")
    assert answer(at(token, "--presentation"), 1)["error"].startswith("TYPE_NOT_ACCEPTED: ")


@pytest.fixture
def documents() -> Iterator[tuple[int, dict[str, bytes]]]:
    """A plain HTTP server on loopback: its port, and what it serves by path."""
    served: dict[str, bytes] = {}

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = served.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], served
        server.shutdown()
        thread.join()


def test_hosts_without_tls_only_when_they_are_allowed(
    documents: tuple[int, dict[str, bytes]],
) -> None:
    port, served = documents
    did = f"did:web:localhost%3A{port}"
    issuer = Issuer(Key("secp256k1"), did, f"{did}#key-1")
    served["/.well-known/did.json"] = json.dumps(issuer.document()).encode()
    url = f"http://localhost:{port}/list"
    served["/list"] = issuer.status_list(url, 5).encode()
    for token, exit_code in (
        (issuer.v20(), 0),
        (issuer.v20(credentialStatus=entry(url, "4")), 0),
        (issuer.v20(credentialStatus=entry(url, "5")), 1),
    ):
        assert answer(at(token), 2)["error"].startswith("DID_BLOCKED: ")
        answer(at(token, "--allow-insecure-hosts"), exit_code)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a.b.c", "d.e.f"),
        ("--unknown", "a.b.c"),
        ("a.b.c", "--clock", "yesterday"),
        ("a.b.c", "--did-docs", "missing.json"),
        ("missing.jwt",),
        ("./missing",),
    ],
)
def test_wrong_usage_is_no_verdict(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 64, result.output
    assert "Error: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("content", ["not json", "5", "[5]", '{"a":1,"a":2}'])
def test_a_file_of_documents_that_is_none(tmp_path: Path, content: str) -> None:
    result = run("a.b.c", "--did-docs", file(tmp_path, "docs.json", content))
    assert result.exit_code == 64
    assert "docs.json" in result.stderr


def test_a_setting_that_does_not_fit_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOCK_SKEW_S", "3600")
    result = run(ISSUER.v20())
    assert result.exit_code == 64
    assert "CLOCK_SKEW_S" in result.stderr


def test_a_defect_is_no_verdict_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr("credentials.verify.Verifier.verify", fail)
    result = run(ISSUER.v20())
    assert result.exit_code == 70
    assert "oops" in result.stderr


def test_what_can_only_be_the_name_of_a_file_and_is_none_is_wrong_usage() -> None:
    for name in ("nosuchfile", "no/such-file", "./nosuch"):
        result = at(name)
        assert result.exit_code == 64, result.output
        assert "There is no file" in result.output


def test_a_file_that_holds_no_documents_is_wrong_usage(tmp_path: Path) -> None:
    for number, content in enumerate(({"id": 5}, {"did:example:a": 5}, {"a": {}}, [{}])):
        place = file(tmp_path, f"d{number}", content)
        result = at(ISSUER.v20(), "--did-docs", place)
        assert result.exit_code == 64, result.output
        assert "must hold documents" in result.output
