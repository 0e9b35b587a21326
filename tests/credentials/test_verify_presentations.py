"""Presentations and envelopes, in both data models (D1-D3)."""

import json
from typing import Any

import pytest
from judging import Bench
from minting import NOW, V1, V2, Issuer, Key, changed, compact, entry, envelope

HOLDER, ISSUER = Issuer(Key("P-256")), Issuer()
VERIFIER = "did:web:verifier.example"
ASKED: dict[str, Any] = {
    "kind": "presentation",
    "audience": frozenset({VERIFIER}),
    "nonce": "n-1",
}
MALFORMED = "MALFORMED_VALUE_ERROR"


def v20(*tokens: Any, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A 2.0 presentation of these tokens, or of whatever objects are given."""
    head = {"alg": HOLDER.key.alg, "typ": "vp+jwt", "kid": HOLDER.kid}
    body = {
        "@context": [V2],
        "type": ["VerifiablePresentation"],
        "holder": HOLDER.did,
        "verifiableCredential": [envelope(t) if isinstance(t, str) else t for t in tokens],
        "aud": VERIFIER,
        "nonce": "n-1",
    }
    return compact(changed(head, header or {}), changed(body, changes), HOLDER.key)


def v11(*tokens: Any, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A 1.1 presentation; `vp` are changes to that member."""
    vp = {"@context": [V1], "type": ["VerifiablePresentation"]}
    vp["verifiableCredential"] = list(tokens)
    vp = changed(vp, changes.pop("vp", {}))
    body = {"iss": HOLDER.did, "aud": VERIFIER, "nonce": "n-1", "vp": vp}
    head = {"alg": HOLDER.key.alg, "typ": "JWT", "kid": HOLDER.kid}
    return compact(changed(head, header or {}), changed(body, changes), HOLDER.key)


@pytest.mark.parametrize("make", [v20, v11])
async def test_a_presentation_with_credentials(make: Any) -> None:
    other = ISSUER.v11() if make is v11 else ISSUER.v20()
    verdict = await Bench().valid(make(ISSUER.v20(), other), **ASKED)
    inner = {
        "issuer": ISSUER.did,
        "subject": "did:example:subject",
        "claims": {"degree": "Bachelor"},
    }
    assert verdict.result() == {
        "valid": True,
        "issuer": HOLDER.did,
        "claims": {"verifiableCredential": [inner, inner]},
    }
    assert [credential.issuer for credential in verdict.credentials] == [ISSUER.did] * 2


async def test_an_envelope_holds_no_token_of_11() -> None:
    assert await Bench().code(v20(ISSUER.v20(), ISSUER.v11()), **ASKED) == "TYPE_NOT_ACCEPTED"


@pytest.mark.parametrize("make", [v20, v11])
async def test_one_wrong_credential_is_enough(make: Any) -> None:
    good = ISSUER.v20()
    for bad, code in (
        (good[:-8] + "AAAAAAAA", "CRYPTOGRAPHIC_SECURITY_ERROR"),
        (ISSUER.v20(validUntil="2027-01-02T00:00:00Z"), "EXPIRED"),
        (ISSUER.v20(aud="did:web:other.example"), "AUDIENCE_MISMATCH"),
        (ISSUER.v20(credentialStatus=entry("https://a.example/1")), "STATUS_RETRIEVAL_ERROR"),
        (v20(good), "TYPE_NOT_ACCEPTED"),
        (v11(good), "TYPE_NOT_ACCEPTED"),
    ):
        verdict = await Bench().judge(make(good, bad), **ASKED)
        assert verdict.code == code
        assert str(verdict.sentence).startswith("Credential 2 of the presentation: ")


@pytest.mark.parametrize("make", [v20, v11])
async def test_for_whom_and_when(make: Any) -> None:
    bench = Bench()
    for changes, code in (
        ({"aud": ...}, "AUDIENCE_MISMATCH"),
        ({"aud": "did:web:other.example"}, "AUDIENCE_MISMATCH"),
        ({"nonce": ...}, "NONCE_MISMATCH"),
        ({"nonce": "n-2"}, "NONCE_MISMATCH"),
        ({"exp": NOW - 30}, "EXPIRED"),
        ({"nbf": NOW + 31}, "NOT_YET_VALID"),
        ({"iat": NOW + 31}, "NOT_YET_VALID"),
    ):
        assert await bench.code(make(ISSUER.v20(), **changes), **ASKED) == code
    await bench.valid(make(ISSUER.v20(), aud=[VERIFIER, "x"], exp=NOW + 1), **ASKED)
    await bench.valid(make(ISSUER.v20(), aud=...), kind="presentation")
    # A credential that names the verifier is for the same one as the presentation.
    await bench.valid(make(ISSUER.v20(aud=VERIFIER)), **ASKED)
    assert await bench.code(make(ISSUER.v20()), kind="presentation") == "AUDIENCE_MISMATCH"


@pytest.mark.parametrize("make", [v20, v11])
async def test_a_presentation_is_no_credential_and_the_other_way_round(make: Any) -> None:
    assert await Bench().code(make(ISSUER.v20()), audience=ASKED["audience"]) == "TYPE_NOT_ACCEPTED"
    for token in (ISSUER.v20(), ISSUER.v11()):
        assert await Bench().code(token, kind="presentation") == "TYPE_NOT_ACCEPTED"


@pytest.mark.parametrize(
    "changes",
    [
        {"@context": ...},
        {"@context": V2},
        {"@context": [V1]},
        {"type": ["VerifiableCredential"]},
        {"type": []},
        {"id": "not a url"},
        {"holder": "name"},
        {"holder": {}},
        {"holder": None},
        {"vp": {}},
        {"vc": {}},
        {"verifiableCredential": [ISSUER.v20()]},
        {"verifiableCredential": [ISSUER.credential()]},
        {"verifiableCredential": "text"},
        {"verifiableCredential": None},
        {"verifiableCredential": [None]},
        {"verifiableCredential": [[envelope(ISSUER.v20())]]},
        {"verifiableCredential": [envelope(ISSUER.v20(), **{"@context": ...})]},
        {"verifiableCredential": [envelope(ISSUER.v20(), **{"@context": [V1]})]},
        {"verifiableCredential": [envelope(ISSUER.v20(), type="VerifiableCredential")]},
        {"verifiableCredential": [envelope(ISSUER.v20(), type=...)]},
        {"verifiableCredential": [envelope(ISSUER.v20(), id=...)]},
        {"verifiableCredential": [envelope(ISSUER.v20(), id=ISSUER.v20())]},
        {"verifiableCredential": [envelope("", id="data:application/vc+jwt,")]},
        {"verifiableCredential": [envelope("", id="https://issuer.example/credential")]},
        {"verifiableCredential": [envelope(ISSUER.v20(), "presentation")]},
        {"verifiableCredential": [envelope(ISSUER.v20())] * 33},
    ],
)
async def test_malformed_20(changes: dict[str, Any]) -> None:
    assert await Bench().code(v20(ISSUER.v20(), **changes), **ASKED) == MALFORMED


@pytest.mark.parametrize(
    "url",
    [
        "data:application/vp+jwt," + ISSUER.v20(),
        "data:application/jwt," + ISSUER.v20(),
        "data:text/plain," + ISSUER.v20(),
        "data:," + ISSUER.v20(),
        "data:application/vc+jwt;base64,QQ==",
    ],
)
async def test_envelopes_of_another_type(url: str) -> None:
    made = v20(verifiableCredential=[envelope("", id=url)])
    assert await Bench().code(made, **ASKED) == "TYPE_NOT_ACCEPTED"


@pytest.mark.parametrize(
    "changes",
    [
        {"vp": {"@context": [V2]}},
        {"vp": {"type": "Other"}},
        {"vp": {"verifiableCredential": [ISSUER.credential()]}},
        {"vp": {"verifiableCredential": [None]}},
        {"vp": {"verifiableCredential": [ISSUER.v11()] * 33}},
        {"vp": {"holder": 5}},
        {"iss": ...},
        {"iss": 5},
        {"jti": "not a url"},
        {"vc": {}},
    ],
)
async def test_malformed_11(changes: dict[str, Any]) -> None:
    assert await Bench().code(v11(ISSUER.v11(), **changes), **ASKED) == MALFORMED


async def test_the_holder() -> None:
    bench = Bench()
    for token in (
        v20(holder=..., iss=HOLDER.did),
        v20(holder=...),  # the key names it
        v20(holder={"id": HOLDER.did}, iss=HOLDER.did),
        v20(verifiableCredential=envelope(ISSUER.v20())),
        v20(verifiableCredential=...),
        v11(vp={"holder": HOLDER.did}),
        v11(vp={"verifiableCredential": ISSUER.v11()}),
    ):
        assert (await bench.valid(token, **ASKED)).issuer == HOLDER.did
    assert await bench.code(v20(iss=ISSUER.did), **ASKED) == "CLAIM_CONFLICT"
    assert await bench.code(v11(vp={"holder": ISSUER.did}), **ASKED) == "CLAIM_CONFLICT"
    assert await bench.code(v20(holder=ISSUER.did), **ASKED) == "ISSUER_KEY_MISMATCH"
    assert await bench.code(v20(holder=..., header={"kid": ...}), **ASKED) == MALFORMED


async def test_the_holders_key_is_for_authentication() -> None:
    did = "did:web:holder.example"
    web = Issuer(HOLDER.key, did, f"{did}#key-1")
    bench = Bench()
    made = v20(holder=did, header={"kid": web.kid})
    bench.know(web, assertionMethod=...)
    await bench.valid(made, **ASKED)
    bench.know(web, authentication=...)
    assert await bench.code(made, **ASKED) == "KEY_NOT_AUTHORIZED"


async def test_envelopes() -> None:
    bench = Bench()
    await bench.valid(json.dumps(envelope(ISSUER.v20())))
    await bench.valid(json.dumps(envelope(ISSUER.v20(), type=["EnvelopedVerifiableCredential"])))
    await bench.valid(json.dumps(envelope(v20(ISSUER.v20()), "presentation")), **ASKED)
    for wrong in (
        envelope(v20(ISSUER.v20()), "presentation"),
        envelope(ISSUER.v20(), **{"@context": ...}),
        ISSUER.credential(),
        {},
    ):
        assert await bench.code(json.dumps(wrong)) == MALFORMED
    # What is inside speaks for itself.
    inside = json.dumps(envelope(v20(ISSUER.v20())))
    assert await bench.code(inside, audience=ASKED["audience"]) == "TYPE_NOT_ACCEPTED"


async def test_a_presentation_waits_for_its_credentials() -> None:
    from credentials.retrieval import NotRetrieved
    from credentials.verdict import CouldNotTell
    from credentials.verify import Expected

    url = "https://issuer.example/status/1"
    bench = Bench(bodies={url: NotRetrieved("HTTP status 503.", transient=True)})
    made = v20(ISSUER.v20(credentialStatus=entry(url)))
    with pytest.raises(CouldNotTell):
        await bench.verifier.verify(made, Expected(**ASKED))
