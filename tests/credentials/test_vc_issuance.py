"""vc-issuance: a credential that others can verify, once and always the same."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from consumers.custody import Custody
from credentials import did_key
from credentials.keyring import Keyring


class Eddsa(JWSRegistry):
    """joserfc's own verifier without its warning about the name EdDSA."""

    def get_alg(self, name: str) -> Any:
        assert name == "EdDSA"
        return self.algorithms[name]


async def test_the_credential_verifies(desk: Any, payload: Any, verified: Any) -> None:
    issuer = await desk.create_issuer()
    job = (await desk.take("vc-issuance", payload.degree(issuer))).job
    result = await desk.run(job)
    assert set(result) == {"vcJwt", "credentialId", "issuedAt"}
    head, credential = verified(result["vcJwt"])
    assert head == {
        "alg": "EdDSA",
        "typ": "vc+jwt",
        "cty": "vc",
        "kid": did_key.verification_method(issuer),
    }
    assert credential["issuer"] == credential["iss"] == issuer
    assert credential["id"] == result["credentialId"]
    assert credential["type"] == ["VerifiableCredential", "UniversityDegreeCredential"]
    assert credential["validFrom"] == result["issuedAt"]
    subject = credential["credentialSubject"]
    assert subject.pop("id") == job.data["subjectDid"]
    assert subject == job.data["claims"]
    issued = datetime.fromisoformat(result["issuedAt"])
    assert issued.timestamp() == credential["iat"] == job.timestamp // 1000


async def test_joserfc_verifies_it_too(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    result = await desk.run((await desk.take("vc-issuance", payload.degree(issuer))).job)
    key = OKPKey.import_key({**did_key.decode(issuer)})
    registry = Eddsa(algorithms=["EdDSA"])
    assert jws.deserialize_compact(result["vcJwt"], key, registry=registry).payload
    other = OKPKey.generate_key("Ed25519")
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(result["vcJwt"], other, registry=registry)


async def test_a_job_that_runs_again_gives_the_same_bytes(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    job = (await desk.take("vc-issuance", payload.degree(issuer))).job
    first = await desk.run(job)
    assert await asyncio.gather(*(desk.run(job) for _ in range(3))) == [first] * 3


async def test_every_job_issues_a_credential_of_its_own(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    ids = set()
    for _ in range(3):
        job = (await desk.take("vc-issuance", payload.degree(issuer))).job
        ids.add((await desk.run(job))["credentialId"])
    assert len(ids) == 3


async def test_an_unknown_issuer_is_refused(desk: Any, payload: Any) -> None:
    unknown = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    for issuer in (unknown, "did:web:issuer.example", "did:key:nonsense"):
        rejection = await desk.refused("vc-issuance", payload.degree(issuer))
        assert rejection.code == "issuer_unknown"


async def test_an_organization_signs_only_with_its_own(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer("org-a")
    foreign = await desk.refused("vc-issuance", payload.degree(issuer, "org-b"))
    assert foreign.code == "issuer_not_owned"
    unknown = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    missing = await desk.refused("vc-issuance", payload.degree(unknown, "org-b"))
    assert str(foreign) == str(missing)


async def test_an_expiration_in_the_past_is_refused(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, expirationDate="2020-01-01T00:00:00Z")
    assert (await desk.refused("vc-issuance", data)).code == "expiration_in_past"


async def test_an_expiration_is_carried(desk: Any, payload: Any, verified: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, expirationDate="2099-01-01T00:00:00+02:00")
    result = await desk.run((await desk.take("vc-issuance", data)).job)
    _, credential = verified(result["vcJwt"])
    assert credential["validUntil"] == "2099-01-01T00:00:00+02:00"


async def test_a_subject_that_is_no_did_key_is_refused(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, subjectDid="did:key:z6Mk...")
    assert (await desk.refused("vc-issuance", data)).code == "subject_invalid"
    for subject in ("did:web:subject.example", "did:example:1"):
        job = (await desk.take("vc-issuance", payload.degree(issuer, subjectDid=subject))).job
        assert (await desk.run(job))["vcJwt"]


async def test_too_large_a_credential_is_refused(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, claims={"text": "x" * 250_000})
    assert (await desk.refused("vc-issuance", data)).code == "credential_too_large"


async def test_swapped_keys_do_not_sign(desk: Any, payload: Any, raw: Any) -> None:
    one, two = await desk.create_issuer("org-a"), await desk.create_issuer("org-a")
    keys = [f"cs:vault:{{{did}}}" for did in (one, two)]
    records = [raw.hgetall(key) for key in keys]
    for key, record in zip(keys, reversed(records), strict=True):
        raw.hset(key, mapping=record)
    for issuer in (one, two):
        rejection = await desk.refused("vc-issuance", payload.degree(issuer))
        assert rejection.code == "key_unreadable"


@pytest.mark.parametrize("part", range(5))
async def test_a_key_that_was_tampered_with_does_not_sign(
    desk: Any, payload: Any, raw: Any, part: int
) -> None:
    issuer = await desk.create_issuer()
    key = f"cs:vault:{{{issuer}}}"
    parts = raw.hget(key, "jwe").decode().split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + other + parts[part][middle + 1 :]
    raw.hset(key, "jwe", ".".join(parts))
    rejection = await desk.refused("vc-issuance", payload.degree(issuer))
    assert rejection.code in {"key_unreadable", "kek_unknown"}


async def test_a_retired_kek_is_named(desk: Any, payload: Any, redis: Any) -> None:
    issuer = await desk.create_issuer()
    other = Keyring({"k2": b"2" * 32}, "k2")
    desk.custody = Custody(redis, other)
    rejection = await desk.refused("vc-issuance", payload.degree(issuer))
    assert rejection.code == "kek_unknown"
    assert "'k1'" in str(rejection)
