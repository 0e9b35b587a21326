"""Key-encryption keys change while everything is at work, and a rotation may stop anywhere."""

import asyncio
import base64
import json
import secrets
from typing import Any

import pytest
from cutting import CutOff

import streams
from consumers.custody import Custody, open_custody
from consumers.destinations import open_destinations
from consumers.processor import Resources
from consumers.rotation import Report, keks_at_boot, rotate
from consumers.run import run_workers
from consumers.settings import WorkerSettings
from credentials import keys
from credentials.errors import CredentialError
from credentials.keyring import Keyring, KeyringError
from gateway.webhook_keys import Desk
from streams import errors, vault


def kek(name: str) -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


OLD, NEW = kek("old"), kek("new")
BOTH = Keyring.parse(f"{NEW},{OLD}")
OLD_WEBHOOK = Keyring.parse(OLD, "webhook")


def ignore(_: Report) -> None:
    pass


@pytest.fixture
async def dids(redis: streams.Redis) -> list[str]:
    """DIDs with a key of every type, sealed under the old KEK."""
    custody = Custody(redis, Keyring.parse(OLD))
    kinds = enumerate(keys.KEY_TYPES * 3)
    return [await custody.create_did_key((str(n),), "org-a", kind) for n, kind in kinds]


async def opens(redis: streams.Redis, ring: Keyring, did: str) -> bool:
    try:
        await Custody(redis, ring).signing_key(did, "org-a")
    except CredentialError as error:
        assert error.code == "kek_unknown"
        return False
    return True


async def test_everything_is_sealed_anew(redis: streams.Redis, raw: Any, dids: list[str]) -> None:
    raw.hset(
        "cs:vault:{did:web:a}",
        mapping={
            "org": "org-a",
            "kid": "did:web:a#key-2",
            **{
                f"jwe:did:web:a#key-{n}": Keyring.parse(OLD).seal(
                    keys.generate("P-256"), f"did:web:a#key-{n}"
                )
                for n in (1, 2)
            },
        },
    )
    ring = json.dumps([{"id": str(n), "jwe": OLD_WEBHOOK.seal_text("s", "n")} for n in "ab"])
    raw.hset("cs:dest:{x}:secret", mapping={"version": 1, "sealed": ring})
    total = len(set(dids)) + 2
    told: list[int] = []
    report = await rotate(redis, BOTH, lambda so_far: told.append(so_far.resealed))
    assert report.as_json() == {
        "complete": True,
        "activeKek": "issuer/new",
        "resealed": total,
        "underActiveKek": total,
        "changedMeanwhile": 0,
        "failed": {},
        "problems": [],
    }
    assert told[-1] == total
    alone = Keyring.parse(NEW)
    for did in dids:
        assert await opens(redis, alone, did)
        assert not await opens(redis, Keyring.parse(OLD), did)
    for key_id in ("did:web:a#key-1", "did:web:a#key-2"):
        assert (await Custody(redis, alone).signing_key("did:web:a", "org-a", key_id)).id == key_id
    assert json.loads(raw.hget("cs:dest:{x}:secret", "sealed")) == json.loads(ring)
    webhooks = Keyring.parse(f"{NEW},{OLD}", "webhook")
    assert (await rotate(redis, webhooks, ignore)).resealed == 2
    sealed = json.loads(raw.hget("cs:dest:{x}:secret", "sealed"))
    renewed = Keyring.parse(NEW, "webhook")
    assert [renewed.unseal_text(one["jwe"], "n") for one in sealed] == ["s", "s"]
    again = await rotate(redis, BOTH, ignore)
    assert (again.resealed, again.checked, again.complete) == (0, total, True)


async def test_it_may_stop_anywhere_and_everything_opens_all_the_time(
    redis: streams.Redis, dids: list[str]
) -> None:
    everyone, interrupted, report = set(dids), 0, None
    for passing in range(0, 90, 3):
        cut = CutOff(redis, passing)
        try:
            report = await rotate(cut, BOTH, ignore)
            break
        except errors.Unavailable:
            interrupted += 1
        assert all([await opens(redis, BOTH, did) for did in dids])
        done = {did for did in dids if await opens(redis, Keyring.parse(NEW), did)}
        assert {did for did in dids if await opens(redis, Keyring.parse(OLD), did)} == (
            everyone - done
        )
    assert interrupted > 5
    assert report is not None
    assert report.complete
    assert all([await opens(redis, Keyring.parse(NEW), did) for did in dids])


async def test_what_cannot_be_opened_is_told_and_left(
    redis: streams.Redis, raw: Any, dids: list[str]
) -> None:
    lost = await Custody(redis, Keyring.parse(kek("lost"))).create_did_key(("l",), "org-a")
    damaged = f"cs:vault:{{{dids[0]}}}"
    raw.hset(damaged, "jwe", "eyJ")
    before = raw.hgetall(f"cs:vault:{{{lost}}}")
    report = await rotate(redis, BOTH, ignore)
    assert not report.complete
    assert report.failed == {"kek_unknown": 1, "key_unreadable": 1}
    assert report.resealed == len(set(dids)) - 1
    assert any("'issuer/lost'" in problem and lost in problem for problem in report.problems)
    assert any(dids[0] in problem for problem in report.problems)
    assert raw.hgetall(f"cs:vault:{{{lost}}}") == before
    assert raw.hget(damaged, "jwe") == b"eyJ"


async def test_what_comes_in_during_the_walk_is_found(
    redis: streams.Redis, dids: list[str]
) -> None:
    late: list[str] = []
    custody = Custody(redis, Keyring.parse(OLD))

    async def come() -> None:
        late.append(await custody.create_did_key(("late",), "org-a"))

    walks = 0
    walk = vault.stored

    async def stored(redis: streams.Redis, purpose: str) -> Any:
        nonlocal walks
        walks += 1
        async for batch in walk(redis, purpose):
            yield batch
        if walks == 1:
            await come()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault, "stored", stored)
        report = await rotate(redis, BOTH, ignore)
    assert report.complete
    assert walks == 3
    assert await opens(redis, Keyring.parse(NEW), late[0])


async def test_a_change_made_meanwhile_is_not_undone(
    redis: streams.Redis, raw: Any, dids: list[str]
) -> None:
    """Between reading a seal and replacing it, somebody else did."""
    replace = vault.replace
    key = f"cs:vault:{{{dids[0]}}}"
    other = Keyring.parse(NEW).seal(keys.generate("Ed25519"), "another")

    async def meanwhile(redis: streams.Redis, old: vault.Stored, text: str) -> bool:
        if old.key == key:
            raw.hset(key, "jwe", other)
        return await replace(redis, old, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vault, "replace", meanwhile)
        report = await rotate(redis, BOTH, ignore)
    assert raw.hget(key, "jwe") == other.encode()
    assert report.complete


async def test_two_rotations_at_once(redis: streams.Redis, dids: list[str]) -> None:
    reports = await asyncio.gather(*(rotate(redis, BOTH, ignore) for _ in range(3)))
    assert all(report.complete for report in reports)
    for did in dids:
        assert await opens(redis, Keyring.parse(NEW), did)


@pytest.mark.parametrize(
    "kind",
    [
        (open_custody, "issuer", "CREDSTREAM_KEKS"),
        (open_destinations, "webhook", "CREDSTREAM_WEBHOOK_KEKS"),
    ],
)
async def test_a_worker_does_not_begin_without_a_kek_that_is_used(
    redis: streams.Redis,
    raw: Any,
    dids: list[str],
    kind: tuple[Any, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ring that lost a key is found at the start, not by the first job that needs it."""
    opens_keys, purpose, ring = kind
    sealed = json.dumps([{"id": "a", "jwe": OLD_WEBHOOK.seal_text("s", "n")}])
    raw.hset("cs:dest:{x}:secret", mapping={"version": 1, "sealed": sealed})
    monkeypatch.setenv(ring, NEW)
    resources = Resources(redis, production=True, keks_in_use=await keks_at_boot(redis))
    with pytest.raises(KeyringError, match=rf"sealed under {purpose}/old, which the ring has not"):
        await opens_keys(resources).__aenter__()
    with monkeypatch.context() as forced:
        forced.setenv("CREDSTREAM_KEKS_INCOMPLETE", "true")
        async with opens_keys(resources):
            pass
    monkeypatch.setenv(ring, f"{NEW},{OLD}")
    async with opens_keys(resources):
        pass


async def test_a_worker_begins_while_redis_is_away() -> None:
    redis = streams.connect("redis://127.0.0.1:1")
    try:
        assert await keks_at_boot(redis) == frozenset()
    finally:
        await redis.close()


async def test_a_worker_process_looks_before_it_begins(
    redis: streams.Redis, dids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDSTREAM_KEKS", NEW)
    settings = WorkerSettings(queues="vc-issuance", app_env="production")
    with pytest.raises(KeyringError, match="under issuer/old"):
        await run_workers(settings, redis)


async def test_a_gateway_tells_of_a_kek_that_is_used_and_not_there(
    redis: streams.Redis,
    raw: Any,
    dids: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It begins: only the signing keys of webhooks need the ring, and issuers' are not its own."""
    sealed = json.dumps([{"id": "a", "jwe": OLD_WEBHOOK.seal_text("s", "n")}])
    raw.hset("cs:dest:{x}:secret", mapping={"version": 1, "sealed": sealed})
    for ring, told in ((NEW, True), (f"{NEW},{OLD}", False)):
        caplog.clear()
        monkeypatch.setenv("CREDSTREAM_WEBHOOK_KEKS", ring)
        await Desk(redis).check()
        assert ("sealed under webhook/old, which the ring has not" in caplog.text) is told
