"""did-operations on did:web: created, rotated, changed and ended, once for each job."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from cutting import CutOff

import streams
from consumers.custody import Custody, KeyRefused
from consumers.hosting import Hosting
from consumers.processor import Reject
from consumers.status_lists import StatusLists
from credentials import keys, signer
from credentials.document import methods
from credentials.settings import CredentialSettings
from streams import dids, errors
from streams.dids import HostedDid

DOMAIN = "localhost%3A3000"
FILES = {"id": "#files", "type": "Files", "serviceEndpoint": "https://files.example/"}
HUGE = [{**FILES, "id": f"#s{n}", "more": "y" * 9_000} for n in range(8)]
KINDS = ["Ed25519", "P-256", "P-384", "secp256k1"]


@pytest.fixture
def custody(custody: Custody) -> Custody:
    """With the default domain, whatever the environment of the tests says."""
    settings = CredentialSettings(public_url="http://localhost:3000", did_web_domain=None)
    return replace(custody, settings=settings)


class Web:
    """Submits did-operations on did:web and runs them."""

    def __init__(self, desk: Any, redis: streams.Redis) -> None:
        self.desk = desk
        self.redis = redis

    async def job(self, operation: str, organization: str = "org-a", **more: Any) -> streams.Job:
        data = {"operation": operation, "didMethod": "web", "organizationId": organization}
        job: streams.Job = (
            await self.desk.take("did-operations", {**data, "userId": "user-1", **more})
        ).job
        return job

    async def create(self, organization: str = "org-a", **metadata: Any) -> dict[str, Any]:
        return await self.run(await self.job("create", organization, metadata=metadata))

    async def update(self, did: str, organization: str = "org-a", **metadata: Any) -> Any:
        return await self.run(await self.job("update", organization, did=did, metadata=metadata))

    async def deactivate(self, did: str, organization: str = "org-a", **metadata: Any) -> Any:
        job = await self.job("deactivate", organization, did=did, metadata=metadata)
        return await self.run(job)

    async def run(self, job: streams.Job) -> dict[str, Any]:
        answer: dict[str, Any] = await self.desk.run(job)
        return answer

    async def code(self, operation: str, organization: str = "org-a", **more: Any) -> str:
        """The code with which this is refused."""
        with pytest.raises(Reject) as caught:
            await self.run(await self.job(operation, organization, **more))
        return str(caught.value.code)

    async def found(self, did: str) -> HostedDid:
        record = await dids.find(self.redis, did)
        assert record is not None
        return record


@pytest.fixture
def web(desk: Any, redis: streams.Redis) -> Web:
    return Web(desk, redis)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_did_web_lists_its_key_twice_and_signs_with_the_numbered_one(
    web: Web, custody: Custody, kind: str
) -> None:
    answer = await web.create(path="issuers/acme", keyType=kind)
    did = f"did:web:{DOMAIN}:issuers:acme"
    key = await custody.signing_key(did, "org-a")
    jwk = keys.public_jwk(key.private)
    both = [f"{did}#key-1", f"{did}#{keys.thumbprint_of(jwk)}"]
    document = answer["didDocument"]
    assert document.pop("@context")[0] == "https://www.w3.org/ns/did/v1"
    assert document == {
        "id": did,
        "verificationMethod": [
            {"id": name, "type": type_, "controller": did, "publicKeyJwk": jwk}
            for name, type_ in zip(both, ["JsonWebKey2020", "JsonWebKey"], strict=True)
        ],
        "authentication": both,
        "assertionMethod": both,
        "capabilityInvocation": both,
        "capabilityDelegation": both,
    }
    assert answer["did"] == did
    assert answer["verificationMethod"] == key.id == both[0]
    assert keys.key_type_of(jwk) == kind
    stored = (await web.found(did)).document
    assert stored is not None
    assert [method.jwk for method in methods(stored, did)] == [jwk, jwk]
    header = signer.sign({}, key.private, key.id, algorithm=key.algorithm)
    assert header


async def test_without_a_path_the_name_follows_from_the_job(web: Web) -> None:
    job = await web.job("create")
    answer = await web.run(job)
    assert answer["did"].startswith(f"did:web:{DOMAIN}:")
    assert (await web.create())["did"] != answer["did"]
    assert await web.run(job) == answer


async def test_the_domain_itself_and_names_given_whole(web: Web) -> None:
    assert (await web.create(path="/"))["did"] == f"did:web:{DOMAIN}"
    did = f"did:web:{DOMAIN}:a:b"
    assert (await web.run(await web.job("create", did=did)))["did"] == did
    assert await web.code("create", metadata={"path": "a/b"}) == "did_exists"


async def test_services_are_published_with_absolute_ids(web: Web) -> None:
    answer = await web.create(path="a", services=[FILES])
    did = answer["did"]
    assert answer["didDocument"]["service"] == [{**FILES, "id": f"{did}#files"}]
    more = {"id": f"{did}#hub", "type": ["Hub", "Other"], "serviceEndpoint": [{"uri": "https://h"}]}
    answer = await web.update(did, addServices=[more], removeServices=["#files"])
    assert answer["didDocument"]["service"] == [more]
    answer = await web.update(did, removeServices=["#hub"])
    assert "service" not in answer["didDocument"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"did": "did:web:elsewhere.example:a"}, "did_not_hosted"),
        ({"did": "did:web:localhost%3a3000:a"}, "did_not_hosted"),
        ({"did": f"did:web:{DOMAIN}:a%20b"}, "did_not_hosted"),
        ({"did": f"did:web:{DOMAIN}:{':'.join('abcdefghi')}"}, "did_not_hosted"),
        ({"did": f"did:web:{DOMAIN}:.."}, "invalidDid"),
        ({"did": f"did:web:{DOMAIN}:.well-known"}, "path_reserved"),
        ({"metadata": {"path": "queue/stats"}}, "path_reserved"),
        ({"metadata": {"path": "Credentials"}}, "path_reserved"),
        ({"metadata": {"services": [FILES, FILES]}}, "service_exists"),
        ({"metadata": {"services": [{**FILES, "id": "#key-9"}]}}, "service_exists"),
        ({"metadata": {"services": [{**FILES, "id": "did:web:b.example#f"}]}}, "id_of_another_did"),
        ({"metadata": {"services": [HUGE[0], HUGE[0]]}}, "service_exists"),
        ({"metadata": {"services": HUGE}}, "document_too_large"),
    ],
)
async def test_what_cannot_be_created(web: Web, raw: Any, more: Any, code: str) -> None:
    assert await web.code("create", **more) == code
    assert list(raw.scan_iter("cs:did:*")) == list(raw.scan_iter("cs:vault:*")) == []


async def test_a_name_is_taken_once_whoever_asks(web: Web) -> None:
    await web.create("org-a", path="acme")
    assert await web.code("create", "org-b", metadata={"path": "acme"}) == "did_exists"
    assert await web.code("create", "org-a", metadata={"path": "acme"}) == "did_exists"


async def test_the_root_can_be_kept_for_one(desk: Any, web: Web, custody: Custody) -> None:
    settings = custody.settings.model_copy(update={"did_web_root_organization": "org-a"})
    desk.custody = replace(custody, settings=settings)
    assert await web.code("create", "org-b", metadata={"path": "/"}) == "root_reserved"
    assert (await web.create("org-a", path="/"))["did"] == f"did:web:{DOMAIN}"


async def test_an_address_is_no_domain(desk: Any, web: Web, custody: Custody) -> None:
    desk.custody = replace(custody, settings=CredentialSettings(public_url="http://127.0.0.1:3000"))
    assert await web.code("create") == "did_web_not_configured"


async def test_a_rotation_signs_anew_and_keeps_what_was(web: Web, custody: Custody) -> None:
    first = await web.create(path="a")
    did = first["did"]
    old = await custody.signing_key(did, "org-a")
    answer = await web.update(did, rotate=True, keyType="P-256")
    new = await custody.signing_key(did, "org-a")
    assert answer["verificationMethod"] == new.id == f"{did}#key-2"
    assert new.algorithm == "ES256"
    # What the old key signed verifies on; a job that began before the rotation can still end.
    listed = {method.id for method in methods(answer["didDocument"], did)}
    assert {old.id, new.id} < listed
    again = await custody.signing_key(did, "org-a", old.id)
    assert again.private.as_dict(private=True) == old.private.as_dict(private=True)
    record = await web.found(did)
    assert record.version == 2
    assert record.metadata["versionId"] == "2"


async def test_a_removed_key_is_gone_for_good(web: Web, custody: Custody, raw: Any) -> None:
    did = (await web.create(path="a"))["did"]
    old = await custody.signing_key(did, "org-a")
    answer = await web.update(did, rotate=True, removeKeys=["#key-1"])
    listed = {method.id for method in methods(answer["didDocument"], did)}
    assert len(listed) == 2
    assert old.id not in listed
    assert f"jwe:{old.id}".encode() not in raw.hgetall(f"cs:vault:{{{did}}}")
    with pytest.raises(KeyRefused) as caught:
        await custody.signing_key(did, "org-a", old.id)
    assert caught.value.code == "key_unknown"
    # Its number is never given again.
    answer = await web.update(did, addKeys=[{"keyType": "P-384"}])
    assert answer["didDocument"]["verificationMethod"][-2]["id"] == f"{did}#key-3"
    assert answer["verificationMethod"] == f"{did}#key-2"


async def test_another_key_can_be_made_the_one_that_signs(web: Web, custody: Custody) -> None:
    did = (await web.create(path="a"))["did"]
    await web.update(did, addKeys=[{"keyType": "secp256k1"}, {}])
    assert (await custody.signing_key(did, "org-a")).id == f"{did}#key-1"
    assert (await custody.signing_key(did, "org-a", f"{did}#key-2")).algorithm == "ES256K"
    answer = await web.update(did, signWith=f"{did}#key-2", removeKeys=["#key-1"])
    assert answer["verificationMethod"] == f"{did}#key-2"
    assert (await custody.signing_key(did, "org-a")).id == f"{did}#key-2"


async def test_a_key_can_be_named_by_its_thumbprint(web: Web) -> None:
    did = (await web.create(path="a"))["did"]
    answer = await web.update(did, rotate=True)
    alias = answer["didDocument"]["verificationMethod"][1]["id"]
    answer = await web.update(did, removeKeys=[alias])
    assert len(answer["didDocument"]["verificationMethod"]) == 2


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"removeKeys": ["#key-1"]}, "key_in_use"),
        ({"removeKeys": ["#key-2"]}, "key_unknown"),
        ({"removeKeys": ["did:web:b.example#key-1"]}, "id_of_another_did"),
        ({"signWith": "#key-7"}, "key_unknown"),
        ({"removeServices": ["#none"]}, "service_unknown"),
        ({"addServices": [FILES]}, "service_exists"),
        ({"addKeys": [{}] * 20}, "too_many_keys"),
        ({"addServices": [{**FILES, "id": f"#s{n}"} for n in range(20)]}, "too_many_services"),
        ({"rotate": True, "version": 2}, "version_conflict"),
    ],
)
async def test_a_refused_update_changes_nothing(
    web: Web, raw: Any, metadata: Any, code: str
) -> None:
    did = (await web.create(path="a", services=[FILES]))["did"]
    before = [raw.hgetall(f"cs:{kind}:{{{did}}}") for kind in ("did", "vault")]
    assert await web.code("update", did=did, metadata=metadata) == code
    assert [raw.hgetall(f"cs:{kind}:{{{did}}}") for kind in ("did", "vault")] == before


async def test_a_did_is_changed_by_its_organization_only(web: Web, custody: Custody) -> None:
    did = (await web.create("org-a", path="a"))["did"]
    for operation in ("update", "deactivate"):
        metadata = {"rotate": True} if operation == "update" else {}
        for organization, target, code in (
            ("org-b", did, "did_unknown"),
            ("org-a", f"{did}:none", "did_unknown"),
        ):
            more = {"did": target, "metadata": metadata}
            assert await web.code(operation, organization, **more) == code
    assert (await web.found(did)).version == 1
    with pytest.raises(KeyRefused) as caught:
        await custody.signing_key(did, "org-b")
    assert caught.value.code == "issuer_unknown"


async def test_no_concurrent_update_is_lost(web: Web) -> None:
    """H6: each is made on top of the one before, whoever comes first."""
    did = (await web.create(path="a"))["did"]
    jobs = [
        await web.job(
            "update",
            did=did,
            metadata={"addServices": [{**FILES, "id": f"#s{n}"}], "addKeys": [{}]},
        )
        for n in range(12)
    ]
    answers = await asyncio.gather(*(web.run(job) for job in jobs))
    record = await web.found(did)
    assert record.version == 13
    assert record.document is not None
    services = {service["id"] for service in record.document["service"]}
    assert services == {f"{did}#s{n}" for n in range(12)}
    numbered = [m["id"] for m in record.document["verificationMethod"] if "#key-" in m["id"]]
    assert numbered == [f"{did}#key-{n}" for n in range(1, 14)]
    assert len({len(answer["didDocument"]["service"]) for answer in answers}) == 12


async def test_of_two_updates_of_one_version_the_second_is_told(web: Web) -> None:
    did = (await web.create(path="a"))["did"]
    jobs = [
        await web.job("update", did=did, metadata={"rotate": True, "version": 1}) for _ in range(2)
    ]
    results = await asyncio.gather(*(web.run(job) for job in jobs), return_exceptions=True)
    (refused,) = [result for result in results if isinstance(result, Reject)]
    assert refused.code == "version_conflict"
    assert (await web.found(did)).version == 2


async def test_a_deactivated_did_is_gone_for_good(web: Web, custody: Custody, raw: Any) -> None:
    did = (await web.create(path="a"))["did"]
    assert await web.code("deactivate", did=did, metadata={"version": 9}) == "version_conflict"
    answer = await web.deactivate(did, version=1)
    assert answer == {"did": did, "didDocument": None, "verificationMethod": None}
    record = await web.found(did)
    assert record.document is None
    assert record.metadata["deactivated"] is True
    assert not [field for field in raw.hgetall(f"cs:vault:{{{did}}}") if b"jwe" in field]
    with pytest.raises(KeyRefused) as caught:
        await custody.signing_key(did, "org-a")
    assert caught.value.code == "issuer_deactivated"
    with pytest.raises(KeyRefused) as caught:
        await custody.signing_key(did, "org-b")
    assert caught.value.code == "issuer_unknown"
    for organization in ("org-a", "org-b"):
        more: Any = {"metadata": {"path": "a"}}
        assert await web.code("create", organization, **more) == "did_deactivated"
    update: Any = {"did": did, "metadata": {"rotate": True}}
    assert await web.code("update", **update) == "did_deactivated"
    assert await web.code("deactivate", did=did) == "did_deactivated"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("passing", [0, 1])
@pytest.mark.parametrize("operation", ["create", "update", "deactivate"])
async def test_a_job_cut_off_anywhere_is_completed_by_its_next_run(
    desk: Any, web: Web, custody: Custody, operation: str, passing: int, after: bool
) -> None:
    did = f"did:web:{DOMAIN}:a"
    if operation != "create":
        await web.create(path="a")
    metadata = {"create": {"path": "a"}, "update": {"rotate": True}}.get(operation)
    target = {} if operation == "create" else {"did": did}
    job = await web.job(operation, metadata=metadata, **target)
    cut = CutOff(web.redis, passing, after=after)
    desk.custody = replace(custody, redis=cut)
    with pytest.raises(errors.Unavailable):
        await web.run(job)
    desk.custody = custody
    answer = await web.run(job)
    assert await web.run(job) == answer
    record = await web.found(did)
    assert record.version == (1 if operation == "create" else 2)
    assert record.document == answer["didDocument"]
    if operation != "deactivate":
        assert (await custody.signing_key(did, "org-a")).id == answer["verificationMethod"]


async def test_a_job_that_runs_again_later_answers_what_it_did(web: Web) -> None:
    job = await web.job("create", metadata={"path": "a"})
    created = await web.run(job)
    update = await web.job("update", did=created["did"], metadata={"rotate": True})
    rotated = await web.run(update)
    await web.deactivate(created["did"])
    assert await web.run(job) == created
    assert await web.run(update) == rotated
    assert (await web.found(created["did"])).version == 3


async def test_the_same_job_twice_at_once_is_done_once(web: Web) -> None:
    create = await web.job("create", metadata={"path": "a"})
    answers = await asyncio.gather(*(web.run(create) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    did = answers[0]["did"]
    update = await web.job("update", did=did, metadata={"rotate": True})
    answers = await asyncio.gather(*(web.run(update) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert (await web.found(did)).version == 2
    end = await web.job("deactivate", did=did)
    answers = await asyncio.gather(*(web.run(end) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)


async def test_too_much_company_is_put_off(
    web: Web, custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    from consumers import hosting
    from consumers.processor import RetryLater
    from schemas.queues.did_operations import DidOperation

    did = (await web.create(path="a"))["did"]
    monkeypatch.setattr(hosting, "ROUNDS", 0)
    job = await web.job("update", did=did, metadata={"rotate": True})
    with pytest.raises(RetryLater):
        await Hosting(custody).update(DidOperation.model_validate(job.data), ("x",))


async def test_a_removed_key_has_status_lists_signed_anew(
    web: Web, custody: Custody, redis: streams.Redis
) -> None:
    """What the removed key signed verifies no more, so lists must not stay signed with it."""
    did = (await web.create(path="a"))["did"]
    lists = StatusLists(redis, custody)
    await lists.assign("urn:uuid:1", did, "org-a", ["revocation"], ("job", "1"))
    queue = streams.Queue("status-lists", redis)
    before = (await queue.counts()).total
    await web.update(did, rotate=True)
    assert (await queue.counts()).total == before
    job = await web.job("update", did=did, metadata={"removeKeys": ["#key-1"]})
    await web.run(job)
    after = (await queue.counts()).total
    assert after > before
    # A run that finds the change made may be the one after a crash before this.
    await web.run(job)
    assert (await queue.counts()).total >= after
