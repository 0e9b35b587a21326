"""Whatever organization B sends with valid credentials, organization A does not notice."""

import asyncio
import base64
import secrets
import time
from typing import Any

import pytest
from adversary import MIXED, STEPS, A, B, World, attacks, play, send
from by_hand import Hand
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.custody import Custody
from consumers.status_lists import StatusLists
from credentials.keyring import Keyring
from gateway.credentials import SLOT_MS
from schemas.identity import inspection_id, publication_id
from schemas.queues.status_lists import publication
from schemas.spec import catalog
from streams import Queue, Redis, connect
from tests.gateway.callers import tenants

AGAIN = 5
"""The step before which B tries everything on all targets once more: A has jobs in all states."""


class Everything:
    """B tries everything there is as soon as it can know a target, and once more."""

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self.requests = 0

    async def __call__(self, world: World, number: int) -> None:
        for target in list(world.known):
            if target in self.tried and number != AGAIN:
                continue
            self.tried.add(target)
            for method, path, body, headers in attacks(target):
                self.requests += 1
                await send(world.b, method, path, body, **headers)


def run(backend: Any, interloper: Any = None) -> list[Any]:
    """What A observes on an empty server."""
    backend.flush()

    async def alone() -> list[Any]:
        redis = connect(backend.url)
        try:
            return await play(redis, interloper)
        finally:
            await redis.close()

    return asyncio.run(alone())


def assert_same(observed: list[Any], alone: list[Any]) -> None:
    for here, there in zip(observed, alone, strict=True):
        assert here == there


def test_two_runs_without_another_organization_are_the_same(redis_backend: Any) -> None:
    """Else the comparisons below would say nothing."""
    assert_same(run(redis_backend), run(redis_backend))


@pytest.mark.timeout(300)
def test_an_organization_does_not_notice_what_another_sends(redis_backend: Any) -> None:
    everything = Everything()
    alone = run(redis_backend)
    assert_same(run(redis_backend, everything), alone)
    assert len(everything.tried) > 40
    assert everything.requests > 1_000


ATTACK = st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 200), st.integers(0, 40))


@pytest.mark.timeout(300)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=st.lists(ATTACK, min_size=10, max_size=60))
def test_nor_in_any_order(redis_backend: Any, plan: list[tuple[int, int, int]]) -> None:
    async def some(world: World, number: int) -> None:
        for step, target, kind in plan:
            if step == number:
                menu = attacks(world.known[target % len(world.known)])
                method, path, body, headers = menu[kind % len(menu)]
                await send(world.b, method, path, body, **headers)

    assert_same(run(redis_backend, some), run(redis_backend))


async def test_a_revocation_is_published_whatever_others_have_queued(redis: Redis) -> None:
    """Everything that the ids of its publications are made from stands in the credential."""
    ring = Keyring.parse(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")
    lists = StatusLists(redis, Custody(redis, ring), "http://localhost:3000")
    issuer = await lists.custody.create_did_key(("made",), A)
    (entry,) = await lists.assign("urn:uuid:1", issuer, A, ["revocation"], ("job",))
    list_id = entry["statusListCredential"].rpartition("/")[2]
    slot_ms = int(time.time()) * 1_000 // SLOT_MS * SLOT_MS
    taken = [publication_id(list_id, version) for version in range(1, 5)]
    taken += [inspection_id(list_id, slot_ms + n * SLOT_MS) for n in range(6)]
    await Queue(MIXED, redis).register()
    async with tenants(redis, A, B) as (a, b):
        for ref in taken:
            for name in (ref, ref.removeprefix("~st:")):
                for method, path, body, headers in attacks(name):
                    await send(b, method, path, body, **headers)
        status, answer = await send(a, "POST", "/credentials/urn%3Auuid%3A1/revoke")
        assert (status, answer["data"]["revoked"]) == (200, True)
    (claim,) = await Hand(redis, catalog()["status-lists"]).take()
    assert claim.job.data == publication(list_id, A, 2)
    assert (await Queue("status-lists", redis).counts()).total == 2
