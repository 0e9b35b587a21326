"""Whatever is issued here verifies here, with the same issuer, subject and claims (A6)."""

import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyld import jsonld

from consumers.custody import SigningKey
from consumers.processors.vc_issuance import Issuance, Occasion
from credentials import did_jwk, did_key, keys
from credentials.contexts import Contexts
from credentials.resolver import Resolver
from credentials.settings import CredentialSettings
from credentials.verdict import Verdict
from credentials.verify import Verifier
from schemas.queues.vc_issuance import MAX_CLAIM_LEVELS, VcIssuance

SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
IDENTIFIER = "urn:uuid:6c3a7a4e-2f4d-5d53-8a6f-0a6e6c1f7d11"
NOW_S = int(time.time())
CONTEXTS = Contexts.load()
KEYS = {kind: keys.generate(kind) for kind in keys.KEY_TYPES}
DIDS = {kind: did_key.encode(keys.public_jwk(key)) for kind, key in KEYS.items()}
Issue = Callable[..., Awaitable[str]]


async def issue(kind: keys.KeyType, did: str, key_id: str, **changes: Any) -> str:
    """A token, as a job with these changes makes it."""

    async def signing_key(asked: str, _organization_id: str) -> SigningKey:
        assert asked == did
        return SigningKey(key_id, KEYS[kind], keys.algorithm_of(keys.public_jwk(KEYS[kind])))

    data = {
        "issuerDid": did,
        "subjectDid": SUBJECT,
        "credentialType": "UniversityDegreeCredential",
        "claims": {"degree": "BSc"},
        "organizationId": "org-123",
        "userId": "user-456",
        **changes,
    }
    data = {name: value for name, value in data.items() if value is not ...}
    holder: Any = SimpleNamespace(signing_key=signing_key)
    issuance = Issuance(holder, SimpleNamespace(), CONTEXTS, CredentialSettings())
    occasion = Occasion(datetime.fromtimestamp(NOW_S, UTC), lambda _: IDENTIFIER, ("test",))
    answer = await issuance.issue(VcIssuance.model_validate(data), occasion)
    assert set(answer) == {"vcJwt", "credentialId", "issuedAt"}
    return str(answer["vcJwt"])


async def never(*_: Any) -> NoReturn:
    raise AssertionError("nothing is to be fetched")


async def verify(token: str, at_s: float = NOW_S, documents: Any = None) -> Verdict:
    resolver = Resolver(documents=documents or {})
    return await Verifier(resolver.resolve, never, clock=lambda: at_s).verify(token)


@pytest.mark.parametrize("version", ["1.1", "2.0"])
@pytest.mark.parametrize("kind", keys.KEY_TYPES)
async def test_every_key_in_every_data_model(kind: keys.KeyType, version: str) -> None:
    did = DIDS[kind]
    token = await issue(kind, did, did_key.verification_method(did), dataModel=version)
    assert (await verify(token)).result() == {
        "valid": True,
        "issuer": did,
        "subject": SUBJECT,
        "claims": {"degree": "BSc"},
    }


@pytest.mark.parametrize("version", ["1.1", "2.0"])
async def test_issuers_of_other_methods(version: str) -> None:
    public = keys.public_jwk(KEYS["P-256"])
    jwk = did_jwk.encode(dict(public))
    verdict = await verify(await issue("P-256", jwk, f"{jwk}#0", dataModel=version))
    assert (verdict.valid, verdict.issuer) == (True, jwk)
    web = "did:web:issuer.example"
    method = {"id": f"{web}#key-1", "type": "JsonWebKey2020", "controller": web}
    document = {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": web,
        "verificationMethod": [{**method, "publicKeyJwk": public}],
        "assertionMethod": [f"{web}#key-1"],
    }
    token = await issue("P-256", web, f"{web}#key-1", dataModel=version)
    verdict = await verify(token, documents={web: document})
    assert (verdict.valid, verdict.issuer) == (True, web), verdict


@pytest.mark.parametrize("version", ["1.1", "2.0"])
async def test_it_is_valid_from_the_start_to_the_end(version: str) -> None:
    did = DIDS["Ed25519"]
    token = await issue(
        "Ed25519",
        did,
        did_key.verification_method(did),
        dataModel=version,
        validFrom=datetime.fromtimestamp(NOW_S + 1_000, UTC).isoformat(),
        expirationDate=datetime.fromtimestamp(NOW_S + 2_000, UTC).isoformat(),
    )
    codes = [(await verify(token, NOW_S + s)).code for s in (0, 900, 1_500, 2_100)]
    assert codes == ["NOT_YET_VALID", "NOT_YET_VALID", None, "EXPIRED"]


@pytest.mark.parametrize("version", ["1.1", "2.0"])
async def test_claims_as_deep_as_they_may_be(version: str) -> None:
    did = DIDS["Ed25519"]
    deep: Any = {}
    for _ in range(MAX_CLAIM_LEVELS - 1):
        deep = {"a": deep}
    token = await issue(
        "Ed25519", did, did_key.verification_method(did), dataModel=version, claims=deep
    )
    verdict = await verify(token)
    assert verdict.claims == deep, verdict


async def test_several_subjects() -> None:
    did = DIDS["Ed25519"]
    credential = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiableCredential"],
        "issuer": {"id": did, "name": "A university"},
        "credentialSubject": [{"id": SUBJECT, "a": 1}, {"b": 2}],
    }
    without = dict.fromkeys(("issuerDid", "subjectDid", "credentialType", "claims"), ...)
    key_id = did_key.verification_method(did)
    verdict = await verify(await issue("Ed25519", did, key_id, **without, credential=credential))
    assert verdict.valid, verdict
    assert verdict.issuer == did
    assert verdict.document is not None
    assert verdict.document["credentialSubject"] == credential["credentialSubject"]


NAMES = st.text(min_size=1, max_size=12).filter(
    # JSON-LD has no words for a name with spaces: it is refused.
    lambda name: (
        not name.startswith("@") and name not in ("id", "type") and not re.search(r"\s", name)
    )
)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
JSON = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    claims=st.dictionaries(NAMES, JSON, min_size=1, max_size=5),
    kind=st.sampled_from(keys.KEY_TYPES),
    version=st.sampled_from(["1.1", "2.0"]),
)
async def test_any_claims(claims: dict[str, Any], kind: keys.KeyType, version: str) -> None:
    did = DIDS[kind]
    key_id = did_key.verification_method(did)
    verdict = await verify(await issue(kind, did, key_id, claims=claims, dataModel=version))
    assert (verdict.valid, verdict.issuer, verdict.subject) == (True, did, SUBJECT), verdict
    assert verdict.claims == claims


TERMS = st.from_regex(r"[a-z][A-Za-z0-9]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("id", "type")
)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(TERMS, st.text(max_size=5) | st.lists(st.integers(-9, 9)), min_size=1))
async def test_no_claim_is_lost_to_json_ld(claims: dict[str, Any]) -> None:
    """C5: expansion keeps every claim and leaves no relative type."""
    did = DIDS["Ed25519"]
    token = await issue("Ed25519", did, did_key.verification_method(did), claims=claims)
    verdict = await verify(token)
    assert verdict.document is not None
    (expanded,) = jsonld.expand(verdict.document, {"documentLoader": CONTEXTS._load})
    assert all(":" in name for name in expanded["@type"])
    (subject,) = expanded["https://www.w3.org/2018/credentials#credentialSubject"]
    assert len(subject) == len(claims) + 1
