"""A real gateway on a loopback port, and a client for it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Queue, Redis, answers
from streams.claims import Claim, Claims, Ending
from streams.errors import CredstreamError
from tests.gateway.samples import ISSUANCE, Serve


@pytest.fixture
def issuance() -> dict[str, object]:
    """A payload that vc-issuance takes."""
    return dict(ISSUANCE)


@pytest.fixture
def serve(redis: Redis) -> Serve:
    """`async with serve(settings) as http`: a gateway with settings of the test's own."""

    @asynccontextmanager
    async def serving(settings: GatewaySettings) -> AsyncIterator[ClientSession]:
        async with (
            listening(create_app(redis, settings)) as (_, port),
            ClientSession(f"http://localhost:{port}") as http,
        ):
            yield http

    return serving


@pytest.fixture
async def http(serve: Serve) -> AsyncIterator[ClientSession]:
    """A client of a gateway with default settings."""
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as session:
        yield session


@pytest.fixture
def queue(redis: Redis) -> Queue:
    """The engine's side of vc-issuance, to look behind the gateway."""
    return Queue("vc-issuance", redis)


class Hands:
    """A worker of vc-issuance that does what it is told."""

    def __init__(self, queue: Queue) -> None:
        self._claims = Claims(queue.spec, queue.redis, "hands")

    async def take(self, count: int) -> list[Claim]:
        """Up to `count` jobs, now active."""
        claimed, _ = await self._claims.claim(await self._claims.link(), count)
        return claimed.claims

    async def retry(self, claim: Claim, delay_ms: int) -> None:
        """An attempt has failed, and the next one is due later."""
        ending = Ending(claim, "retry", history=b"[]", delay_ms=delay_ms)
        await self._claims.send([command for command, _ in self._claims.settle([ending])])

    async def end(self, claims: list[Claim], kind: str, text: bytes) -> None:
        """`complete` with a result, `fail` with a history, `release`."""
        complete = kind == "complete"
        endings = [
            Ending(claim, kind, result=text) if complete else Ending(claim, kind, history=text)
            for claim in claims
        ]
        await self._claims.send([command for command, _ in self._claims.settle(endings)])

    async def log(self, claim: Claim, line: str) -> None:
        """A line in the log of an active job."""
        assert await self._claims.log(claim, line)


@pytest.fixture
def hands(queue: Queue) -> Hands:
    """A worker, for states that only a worker can bring about."""
    return Hands(queue)


@pytest.fixture
def dying(raw: Any) -> Iterator[Callable[[], None]]:
    """Answers are not kept, as if nobody was there to do it; called, it ends that and lets the
    claim run out."""

    async def gone(*_: Any, **__: Any) -> None:
        raise CredstreamError("the gateway is gone")

    patch = pytest.MonkeyPatch()
    patch.setattr(answers, "keep", gone)
    patch.setattr(answers, "drop", gone)

    def lapse() -> None:
        patch.undo()
        for record in raw.scan_iter(match="cs:idem:*"):
            if raw.hexists(record, "plan"):
                assert raw.pttl(record) > 72_000_000
                raw.hset(record, "until", 1)
            else:
                raw.delete(record)

    yield lapse
    patch.undo()
