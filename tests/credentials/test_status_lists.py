"""Entries of credentials and the signed lists behind them (I1, I2, I5), and the job that publishes
them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cutting import CutOff
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema.validators import Draft202012Validator

import streams
from consumers import Reject, Resources, Worker
from consumers.custody import Custody, KeyRefused
from consumers.processors import status_lists as processor
from consumers.status_lists import (
    StatusError,
    StatusLists,
    hosted_lists,
    list_id_of,
    open_status_lists,
    sign_again,
)
from credentials import bitstring
from credentials.contexts import Contexts
from credentials.keyring import Keyring
from schemas.identity import publication_id
from schemas.queues.status_lists import SPEC, StatusListPublication, publication
from schemas.status import PURPOSES, Owner
from streams import NewJob, Queue, errors, status

PUBLIC = "https://gateway.example"
ORG = "org-a"
NEVER_MS = 2**53
SCHEMA = Path(__file__).parents[1] / "vectors" / "w3c-vc-v2-schema.json"


@pytest.fixture
async def issuer(custody: Custody) -> str:
    return await custody.create_did_key(("made", "for", "tests"), ORG)


@pytest.fixture
def lists(redis: streams.Redis, custody: Custody) -> StatusLists:
    return StatusLists(redis, custody, PUBLIC, ttl_ms=60_000)


def place_of(entry: dict[str, Any]) -> tuple[str, int]:
    return entry["statusListCredential"], int(entry["statusListIndex"])


def list_id(entry: dict[str, Any]) -> str:
    found = list_id_of(entry["statusListCredential"], PUBLIC)
    assert found is not None
    return found


async def flip(redis: streams.Redis, credential: str, purpose: Any, value: bool = True) -> None:
    record = await status.find(redis, credential)
    assert record is not None
    flipped = await status.flip(redis, record, (purpose, value), until_ms=NEVER_MS)
    assert flipped.word == "OK"


async def test_an_entry_is_what_the_specification_says(lists: StatusLists, issuer: str) -> None:
    entries = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",))
    assert [entry["statusPurpose"] for entry in entries] == list(PURPOSES)
    for entry in entries:
        assert set(entry) == {
            *("id", "type", "statusPurpose", "statusListIndex", "statusListCredential")
        }
        assert entry["type"] == "BitstringStatusListEntry"
        assert 0 <= bitstring.index(entry["statusListIndex"]) < 131_072
        assert entry["id"] != entry["statusListCredential"]
        assert entry["statusListCredential"].startswith(f"{PUBLIC}/status-lists/")
    assert entries[0]["statusListCredential"] != entries[1]["statusListCredential"]


async def test_the_list_of_an_entry_is_there_signed_by_the_issuer(
    lists: StatusLists, issuer: str, redis: streams.Redis, verified: Any
) -> None:
    for entry in await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",)):
        token = await status.published(redis, list_id(entry))
        assert token is not None
        header, credential = verified(token)
        assert (header["typ"], header["cty"]) == ("vc+jwt", "vc")
        assert header["kid"].startswith(f"{issuer}#")
        assert credential["issuer"] == credential["iss"] == issuer
        assert credential["id"] == entry["statusListCredential"]
        assert "BitstringStatusListCredential" in credential["type"]
        assert not {"vc", "vp", "nbf", "exp", "validUntil"} & set(credential)
        subject = credential["credentialSubject"]
        assert subject["type"] == "BitstringStatusList"
        assert subject["statusPurpose"] == entry["statusPurpose"]
        assert subject["ttl"] == 60_000
        assert bitstring.decode(subject["encodedList"]) == bytes(16_384)


async def test_a_list_fits_the_schema_of_credentials(
    lists: StatusLists, issuer: str, redis: streams.Redis, verified: Any
) -> None:
    (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("job",))
    _, credential = verified(await status.published(redis, list_id(entry)))
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(credential)
    # The context defines every term of a list (E1, C5), so that no word of it is ours.
    document = {name: value for name, value in credential.items() if name not in ("iss", "iat")}
    assert not Contexts.load().leaves_undefined(document)
    subject = {**document["credentialSubject"], "ourOwn": 1}
    assert Contexts.load().leaves_undefined({**document, "credentialSubject": subject})


async def test_one_origin_gets_the_same_entries(lists: StatusLists, issuer: str) -> None:
    first = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",))
    assert await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",)) == first
    both = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES[::-1], ("job",))
    assert both == first[::-1]
    many = await asyncio.gather(
        *(lists.assign("urn:uuid:2", issuer, ORG, PURPOSES, ("job", "2")) for _ in range(20))
    )
    assert all(entries == many[0] for entries in many)
    assert not {place_of(entry) for entry in first} & {place_of(entry) for entry in many[0]}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(2, 24),
    asked=st.lists(
        st.tuples(st.integers(0, 25), st.sampled_from([PURPOSES, PURPOSES[:1]])), max_size=60
    ),
)
async def test_at_once_and_beyond_the_end_of_a_list_no_two_credentials_share_an_index(
    redis: streams.Redis, custody: Custody, raw: Any, size: int, asked: list[tuple[int, Any]]
) -> None:
    raw.flushall()
    issuer = await custody.create_did_key(("x",), ORG)
    lists = StatusLists(redis, custody, PUBLIC, size=size)
    given = await asyncio.gather(
        *(lists.assign(f"urn:x:{n}", issuer, ORG, purposes, (str(n),)) for n, purposes in asked)
    )
    owner: dict[tuple[str, int], tuple[int, str]] = {}
    of_credential: dict[tuple[int, str], tuple[str, int]] = {}
    for (n, _), entries in zip(asked, given, strict=True):
        for entry in entries:
            key = (n, entry["statusPurpose"])
            assert owner.setdefault(place_of(entry), key) == key
            assert of_credential.setdefault(key, place_of(entry)) == place_of(entry)
            assert await status.published(redis, list_id(entry)) is not None


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_cut_off_at_any_call_the_next_run_completes_it(
    redis: streams.Redis, ring: Keyring, issuer: str, after: bool
) -> None:
    """Each call to Redis fails once, with and without having had its effect (A7)."""
    whole = CutOff(redis)
    clean = StatusLists(whole, Custody(whole, ring), PUBLIC)
    await clean.assign("urn:cut:0", issuer, ORG, PURPOSES, ("job", "0"))
    assert whole.calls >= 10
    seen: set[tuple[str, int]] = set()
    for at in range(1, whole.calls + 1):
        credential, origin = f"urn:cut:{at}", ("job", str(at))
        # An issuer of its own, so that there is a first list to be published every time.
        did = await Custody(redis, ring).create_did_key((str(at),), ORG)
        cut = CutOff(redis, at - 1, after=after, once=True)
        lists = StatusLists(cut, Custody(cut, ring), PUBLIC)
        with pytest.raises(errors.Unavailable):
            await lists.assign(credential, did, ORG, PURPOSES, origin)
        entries = await lists.assign(credential, did, ORG, PURPOSES, origin)
        assert await lists.assign(credential, did, ORG, PURPOSES, origin) == entries
        for entry in entries:
            assert await status.published(redis, list_id(entry)) is not None
            assert place_of(entry) not in seen
            seen.add(place_of(entry))


async def test_the_id_of_another_issuers_credential_is_refused(
    lists: StatusLists, custody: Custody, issuer: str
) -> None:
    await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",))
    other = await custody.create_did_key(("other",), ORG)
    with pytest.raises(StatusError) as caught:
        await lists.assign("urn:uuid:1", other, ORG, PURPOSES, ("job",))
    assert caught.value.code == "credential_id_taken"


async def test_no_organization_keeps_another_from_an_id(
    lists: StatusLists, custody: Custody, issuer: str, redis: streams.Redis
) -> None:
    other = await custody.create_did_key(("other",), "org-b")
    theirs = await lists.assign("urn:uuid:1", other, "org-b", PURPOSES, ("job",))
    ours = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",))
    assert not {place_of(entry) for entry in theirs} & {place_of(entry) for entry in ours}
    record = await status.find(redis, "urn:uuid:1", "org-b")
    assert record is not None
    await status.flip(redis, record, ("revocation", True), until_ms=2**53)
    assert await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("another job",)) == ours


async def test_two_issuers_that_want_one_id_at_once(
    lists: StatusLists, custody: Custody, issuer: str
) -> None:
    other = await custody.create_did_key(("other",), ORG)
    outcomes = await asyncio.gather(
        *(
            lists.assign("urn:uuid:1", did, ORG, ["revocation"], ("j",))
            for did in [issuer, other] * 5
        ),
        return_exceptions=True,
    )
    refused = [one for one in outcomes if isinstance(one, StatusError)]
    entries = [one for one in outcomes if not isinstance(one, BaseException)]
    assert len(refused) == len(entries) == 5
    assert {error.code for error in refused} == {"credential_id_taken"}
    assert all(one == entries[0] for one in entries)


async def test_an_id_issued_anew_has_the_state_of_the_id(
    lists: StatusLists, issuer: str, redis: streams.Redis
) -> None:
    first = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job", "1"))
    assert await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job", "2")) == first
    await flip(redis, "urn:uuid:1", "suspension")
    assert await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job", "2")) == first


async def test_a_revoked_id_is_not_issued_anew_but_its_own_job_may_end(
    lists: StatusLists, issuer: str, redis: streams.Redis
) -> None:
    first = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job", "1"))
    await flip(redis, "urn:uuid:1", "revocation")
    with pytest.raises(StatusError) as caught:
        await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job", "2"))
    assert caught.value.code == "credential_revoked"
    assert await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job", "1")) == first


async def test_an_entry_may_be_added_for_another_purpose(lists: StatusLists, issuer: str) -> None:
    first = await lists.assign("urn:uuid:1", issuer, ORG, ["suspension"], ("job",))
    both = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",))
    assert both[1:] == first
    assert [entry["statusPurpose"] for entry in both] == list(PURPOSES)


async def test_nobody_gets_a_list_of_an_issuer_that_is_not_theirs(
    lists: StatusLists, issuer: str, redis: streams.Redis
) -> None:
    with pytest.raises(KeyRefused) as caught:
        await lists.assign("urn:uuid:1", issuer, "org-b", PURPOSES, ("job",))
    assert caught.value.code == "issuer_unknown"
    assert await status.find(redis, "urn:uuid:1") is None


async def test_a_flipped_bit_is_in_the_next_list_and_no_other(
    lists: StatusLists, issuer: str, redis: streams.Redis, verified: Any
) -> None:
    entries = [
        (await lists.assign(f"urn:uuid:{n}", issuer, ORG, ["revocation"], (str(n),)))[0]
        for n in range(10)
    ]
    await flip(redis, "urn:uuid:3", "revocation")
    assert await lists.publish(list_id(entries[3]), ORG) == 2
    _, credential = verified(await status.published(redis, list_id(entries[3])))
    bits = bitstring.decode(credential["credentialSubject"]["encodedList"])
    assert [bitstring.bit(bits, place_of(entry)[1]) for entry in entries] == [
        n == 3 for n in range(10)
    ]
    assert sum(byte.bit_count() for byte in bits) == 1


async def test_a_version_is_signed_once(
    lists: StatusLists, issuer: str, redis: streams.Redis
) -> None:
    (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("job",))
    await flip(redis, "urn:uuid:1", "revocation")
    assert await asyncio.gather(*(lists.publish(list_id(entry), ORG) for _ in range(5))) == [2] * 5
    token = await status.published(redis, list_id(entry))
    assert await lists.publish(list_id(entry), ORG) == 2
    assert await status.published(redis, list_id(entry)) == token


async def test_an_older_version_that_comes_late_changes_nothing(
    lists: StatusLists, issuer: str, redis: streams.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that read the list and then stood still, while others went on."""
    (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES[:1], ("1",))
    await lists.assign("urn:uuid:2", issuer, ORG, PURPOSES[:1], ("2",))
    await flip(redis, "urn:uuid:1", "revocation")
    read, go_on = asyncio.Event(), asyncio.Event()
    signing_key = Custody.signing_key

    async def slow(*args: Any) -> Any:
        read.set()
        await go_on.wait()
        return await signing_key(*args)

    monkeypatch.setattr(Custody, "signing_key", slow)
    late = asyncio.create_task(lists.publish(list_id(entry), ORG))
    await read.wait()
    monkeypatch.undo()
    await flip(redis, "urn:uuid:2", "revocation")
    assert await lists.publish(list_id(entry), ORG) == 3
    newest = await status.published(redis, list_id(entry))
    go_on.set()
    assert await late == 3
    assert await status.published(redis, list_id(entry)) == newest


@pytest.fixture
async def worker(redis: streams.Redis, lists: StatusLists) -> AsyncIterator[Any]:
    """A worker of status-lists; `await ended()` waits for the end of one more job."""
    ends: asyncio.Queue[Any] = asyncio.Queue()
    working = Worker(processor.PROCESSOR, redis=redis)
    working.state = lists
    working.on("completed", ends.put_nowait).on("failed", ends.put_nowait)
    async with working:
        yield SimpleNamespace(ended=ends.get)


async def test_the_job_publishes_and_says_which_version(
    worker: Any, lists: StatusLists, issuer: str, redis: streams.Redis
) -> None:
    (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("job",))
    await flip(redis, "urn:uuid:1", "revocation")
    queue, name = Queue(SPEC, redis), publication_id(list_id(entry), 2)
    await queue.add_many([NewJob("publish", publication(list_id(entry), ORG, 2), ref=name)])
    await worker.ended()
    job = await queue.get(name)
    assert job is not None
    assert (job.state, job.returnvalue) == ("completed", {"listId": list_id(entry), "version": 2})


@pytest.mark.parametrize("organization", [ORG, "org-b"])
async def test_a_job_for_a_list_that_is_not_there_or_not_theirs_is_refused(
    lists: StatusLists, issuer: str, organization: str
) -> None:
    (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("job",))
    wanted = list_id(entry) if organization != ORG else "a" * 26 + "-" + "b" * 13
    job: Any = SimpleNamespace(
        payload=StatusListPublication.model_validate(publication(wanted, organization, 1))
    )
    context: Any = SimpleNamespace(state=lists)
    with pytest.raises(Reject) as caught:
        await processor.handle(job, context)
    assert caught.value.code == "status_list_unknown"


async def test_a_key_that_cannot_be_opened_is_a_permanent_refusal(
    redis: streams.Redis, lists: StatusLists, issuer: str
) -> None:
    (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("job",))
    await flip(redis, "urn:uuid:1", "revocation")
    stranger = Custody(redis, Keyring.parse("other:" + "A" * 43 + "="))
    job: Any = SimpleNamespace(
        payload=StatusListPublication.model_validate(publication(list_id(entry), ORG, 2))
    )
    context: Any = SimpleNamespace(state=StatusLists(redis, stranger, PUBLIC))
    with pytest.raises(Reject) as caught:
        await processor.handle(job, context)
    assert caught.value.code == "kek_unknown"


async def test_after_the_removal_of_a_key_every_list_is_signed_again(
    worker: Any, lists: StatusLists, issuer: str, redis: streams.Redis
) -> None:
    entries = await lists.assign("urn:uuid:1", issuer, ORG, PURPOSES, ("job",))
    assert await sign_again(redis, issuer, ORG) == 2
    for _ in range(2):
        await worker.ended()
    for entry in entries:
        served = await status.served(redis, list_id(entry))
        assert served is not None
        assert served.version == 2
    assert await sign_again(redis, issuer, "org-b") == 0


async def test_lists_are_found_by_their_url_and_nothing_else_is(
    lists: StatusLists, issuer: str, redis: streams.Redis
) -> None:
    (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("job",))
    url = entry["statusListCredential"]
    hosted = hosted_lists(redis, PUBLIC)
    assert await hosted(url) == await status.published(redis, list_id(entry))
    for other in (
        url + "x",
        url + "?a",
        url + "#list",
        url + "/",
        url.replace("https", "http"),
        url.replace("gateway", "elsewhere"),
        url.upper(),
        f"{PUBLIC}/status-lists/../{list_id(entry)}",
        PUBLIC,
        "",
    ):
        assert await hosted(other) is None, other


async def test_lists_open_with_the_settings_of_the_process(
    redis: streams.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBLIC_URL", "https://gateway.example/base/")
    monkeypatch.setenv("STATUS_LIST_TTL_MS", "1500")
    async with open_status_lists(Resources(redis, data_dir=tmp_path)) as lists:
        issuer = await lists.custody.create_did_key(("x",), ORG)
        (entry,) = await lists.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("job",))
    assert entry["statusListCredential"].startswith("https://gateway.example/base/status-lists/")
    found = await status.served(redis, entry["statusListCredential"].rpartition("/")[2])
    assert found is not None
    assert found.ttl_ms == 1_500


async def test_a_list_keeps_its_address_when_the_gateway_moves(
    redis: streams.Redis, custody: Custody, issuer: str, verified: Any
) -> None:
    (old,) = await StatusLists(redis, custody, PUBLIC).assign(
        "urn:uuid:1", issuer, ORG, ["revocation"], ("1",)
    )
    moved = StatusLists(redis, custody, "https://new.example")
    (again,) = await moved.assign("urn:uuid:1", issuer, ORG, ["revocation"], ("1",))
    (fresh,) = await moved.assign("urn:uuid:2", issuer, ORG, ["revocation"], ("2",))
    assert again == old
    assert fresh["statusListCredential"].startswith("https://new.example/status-lists/")
    await flip(redis, "urn:uuid:1", "revocation")
    await moved.publish(list_id(old), ORG)
    _, credential = verified(await status.published(redis, list_id(old)))
    assert credential["id"] == old["statusListCredential"]


def test_an_owner_has_one_pool() -> None:
    assert Owner(ORG, "did:a").pool == Owner(ORG, "did:a").pool != Owner(ORG, "did:b").pool
