"""Whatever organization B sends with valid credentials, organization A does not notice."""

import asyncio
from typing import Any

import pytest
from adversary import STEPS, World, attacks, play, send
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import connect


class Everything:
    """B tries everything there is, once, as soon as it can know the target."""

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self.requests = 0

    async def __call__(self, world: World, number: int) -> None:
        for target in [name for name in world.known if name not in self.tried]:
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
