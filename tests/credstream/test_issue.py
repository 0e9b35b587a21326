"""`credstream issue`: a credential for people and scripts, and why there is none."""

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import streams
from consumers.custody import open_custody
from consumers.processor import Resources
from credentials import did_jwk, did_key, keys
from credstream.cli import main

SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
WORDS = ("--subject", SUBJECT, "--type", "UniversityDegreeCredential")
CLAIMS = '{"degree": "BSc"}'


def call(*words: str, stdin: str | None = None, **env: str) -> Result:
    result = CliRunner().invoke(main, ["issue", *words], input=stdin, env=env)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def issued(result: Result) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """What was printed, and header and payload of the token in it."""
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert set(answer) == {"vcJwt", "credentialId", "issuedAt"}
    head, body, _ = answer["vcJwt"].split(".")
    read = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (head, body)]
    return answer, json.loads(read[0]), json.loads(read[1])


def key_file(folder: Path, key: keys.PrivateKey, **more: str) -> str:
    path = folder / "key.json"
    path.write_text(json.dumps({**key.as_dict(private=True), **more}))
    return str(path)


def refusal(result: Result) -> dict[str, str]:
    assert result.exit_code == 1, result.output
    answer: dict[str, str] = json.loads(result.stdout)
    assert set(answer) == {"error", "message"}
    return answer


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_with_a_key_of_a_file(tmp_path: Path, kind: keys.KeyType, version: str) -> None:
    key = keys.generate(kind)
    file = key_file(tmp_path, key)
    clock = "2025-01-01T01:00:00.9+01:00"
    words = (CLAIMS, "--issuer-key", file, *WORDS, "--data-model", version, "--clock", clock)
    answer, head, body = issued(call(*words))
    did = did_key.encode(keys.public_jwk(key))
    assert head["kid"] == did_key.verification_method(did)
    assert head["typ"] == {"1.1": "JWT", "2.0": "vc+jwt"}[version]
    assert body["iss"] == did
    assert answer["issuedAt"] == "2025-01-01T00:00:00Z"
    assert body["iat"] == 1_735_689_600
    credential = body.get("vc", body)
    assert credential["id"] == answer["credentialId"]
    assert credential["credentialSubject"] == {"id": SUBJECT, "degree": "BSc"}


def test_with_a_key_made_for_it() -> None:
    result = call(CLAIMS, "--dev", *WORDS)
    _, _, body = issued(result)
    assert f"made for this one credential: {body['iss']}" in result.stderr
    assert issued(call(CLAIMS, "--dev", *WORDS))[2]["iss"] != body["iss"]


def test_only_the_token() -> None:
    clock = ("--clock", "1735689600")
    result = call(CLAIMS, "--dev", *WORDS, *clock, "--jwt")
    token = result.stdout.removesuffix("\n")
    assert [len(part) > 80 for part in token.split(".")] == [True] * 3
    judged = CliRunner().invoke(main, ["verify", "-", *clock], input=token)
    assert (judged.exit_code, json.loads(judged.stdout)["subject"]) == (0, SUBJECT)


def test_claims_come_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text(CLAIMS)
    for words, stdin in ((f"@{tmp_path}/claims.json", None), ("-", CLAIMS)):
        _, _, body = issued(call(words, "--dev", *WORDS, stdin=stdin))
        assert body["credentialSubject"]["degree"] == "BSc"


def test_more_members_and_a_whole_credential(tmp_path: Path) -> None:
    member = '{"name": "Degree", "validFrom": "2030-01-01T00:00:00Z"}'
    _, _, body = issued(call(CLAIMS, "--dev", *WORDS, "--member", member))
    assert (body["name"], body["validFrom"]) == ("Degree", "2030-01-01T00:00:00Z")
    key = keys.generate("Ed25519")
    did = did_key.encode(keys.public_jwk(key))
    credential = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": "VerifiableCredential",
        "issuer": did,
        "credentialSubject": {"name": "A graduate"},
    }
    file = key_file(tmp_path, key)
    _, _, body = issued(call("--issuer-key", file, "--credential", json.dumps(credential)))
    assert body["credentialSubject"] == credential["credentialSubject"]


def test_a_key_of_another_did(tmp_path: Path) -> None:
    key = keys.generate("P-256")
    web = "did:web:issuer.example"
    file = key_file(tmp_path, key, kid=f"{web}#key-1")
    _, head, body = issued(call(CLAIMS, "--issuer-key", file, "--issuer", web, *WORDS))
    assert (head["kid"], body["issuer"]) == (f"{web}#key-1", web)
    jwk = did_jwk.encode(dict(keys.public_jwk(key)))
    _, head, _ = issued(call(CLAIMS, "--issuer-key", file, "--issuer", jwk, *WORDS))
    assert head["kid"] == f"{jwk}#0"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((CLAIMS, "--dev"), "invalid_payload", "/subjectDid: is required"),
        (
            (CLAIMS, "--dev", *WORDS, "--member", '{"x": 1}'),
            "invalid_payload",
            "/x: is not a known member",
        ),
        ((CLAIMS, "--dev", *WORDS, "--expires", "soon"), "invalid_payload", "/expirationDate"),
        (
            (CLAIMS, "--dev", *WORDS, "--expires", "2020-01-01T00:00:00Z"),
            "expiration_in_past",
            "2020",
        ),
        (
            (CLAIMS, "--dev", *WORDS, "--member", '{"status": ["revocation"]}'),
            "status_not_available",
            "no status lists",
        ),
        (
            (CLAIMS, "--dev", *WORDS, "--member", '{"contexts": ["https://a.example/c"]}'),
            "context_unknown",
            "https://a.example/c",
        ),
    ],
)
def test_refused(words: tuple[str, ...], code: str, told: str) -> None:
    answer = refusal(call(*words))
    assert answer["error"] == code
    assert told in answer["message"]


def test_wrong_usage(tmp_path: Path) -> None:
    key = keys.generate("Ed25519")
    file = key_file(tmp_path, key)
    other = did_key.encode(keys.public_jwk(keys.generate("Ed25519")))
    public = tmp_path / "public.json"
    public.write_text(json.dumps(keys.public_jwk(key)))
    secret = str(key.as_dict(private=True)["d"])
    for words, told in (
        ((CLAIMS, *WORDS), "Say which key is to sign"),
        ((CLAIMS, *WORDS, "--issuer", other), "--issuer with --organization"),
        ((CLAIMS, *WORDS, "--dev", "--issuer-key", file), "exclude each other"),
        ((CLAIMS, *WORDS, "--dev", "--clock", "2030-01-01"), "must be a time"),
        ((CLAIMS, *WORDS, "--issuer-key", "/no/such/file"), "cannot be read: No such"),
        ((CLAIMS, *WORDS, "--issuer-key", str(public)), "is not a private JWK"),
        ((CLAIMS, *WORDS, "--issuer-key", file, "--issuer", other), "DID of another key"),
        ((CLAIMS, *WORDS, "--issuer-key", file, "--issuer", "did:key:z6"), "--issuer:"),
        ((CLAIMS, *WORDS, "--issuer-key", file, "--issuer", "did:web:a.example"), "`kid`"),
        (("[1]", "--dev"), "must be a JSON object"),
    ):
        result = call(*words)
        assert result.exit_code == 2, words
        assert told in result.output
        assert secret not in result.output


def test_with_a_key_of_the_vault(
    redis: streams.Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    env = {"REDIS_URL": redis_url, "DATA_DIR": str(tmp_path)}

    async def made() -> str:
        handle = streams.connect(redis_url)
        try:
            async with open_custody(Resources(handle, data_dir=tmp_path)) as custody:
                return await custody.create_did_key(("cli",), "org-a", "P-384")
        finally:
            await handle.close()

    did = asyncio.run(made())
    words = (CLAIMS, *WORDS, "--issuer", did)
    member = '{"status": ["revocation"]}'
    result = call(*words, "--organization", "org-a", "--member", member, **env)
    _, head, body = issued(result)
    assert head["alg"] == "ES384"
    assert body["credentialStatus"]["statusPurpose"] == "revocation"
    assert refusal(call(*words, "--organization", "org-b", **env))["error"] == "issuer_unknown"


def test_without_a_redis(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{probe.getsockname()[1]}"
    words = (CLAIMS, *WORDS, "--issuer", "did:web:a.example", "--organization", "org-a")
    result = call(*words, REDIS_URL=url, DATA_DIR=str(tmp_path))
    assert result.exit_code == 3
    assert "Redis is not available" in result.output
