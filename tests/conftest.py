"""Fixtures every test may use: one real server per run, emptied before each test.

`CREDSTREAM_TEST_REDIS` names what stands behind them: `valkey` (the default), `redis7` (Debian's
redis-server), `secured` (the same with TLS and the ACL that ships) or `cluster` (three masters).
The same tests run on all of them.
"""

import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import pytest
from hypothesis import settings
from redis_cluster import cluster
from redis_secured import secured
from redis_servers import Server, redis7, valkey

import streams

settings.register_profile("ci", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# The servers of tests save nothing, which a program that begins would refuse (REL-2).
os.environ.setdefault("DURABILITY_FORCE", "true")
# A busy machine may take longer than the two seconds that a program waits for a connection.
os.environ.setdefault("REDIS_CONNECT_TIMEOUT_MS", "10000")

# A `credstream up` of the developer is not what tests are to find.
os.environ["XDG_DATA_HOME"] = "/nonexistent"

KIND = os.environ.get("CREDSTREAM_TEST_REDIS", "valkey")


class Backend(Protocol):
    """What the fixtures need of a server or a cluster."""

    @property
    def url(self) -> str: ...
    def client(self) -> Any: ...
    def flush(self) -> None: ...


@pytest.fixture(scope="session")
def redis_kind() -> str:
    """What stands behind the fixtures, for tests that make sense on some of them only."""
    return KIND


@pytest.fixture(scope="session")
def redis_backend() -> Iterator[Backend]:
    """The server (or cluster) of this run. It saves nothing and must not be stopped."""
    kinds = {"valkey": valkey, "redis7": redis7, "cluster": cluster, "secured": secured}
    if KIND not in kinds:
        pytest.exit(f"CREDSTREAM_TEST_REDIS={KIND}: must be one of {', '.join(kinds)}")
    with kinds[KIND]() as running:
        yield running


@pytest.fixture
def redis_url(redis_backend: Backend) -> str:
    """The address of the run's server, emptied for this test."""
    redis_backend.flush()
    return redis_backend.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[streams.Redis]:
    """Our own connection to the emptied server."""
    connected = streams.connect(redis_url)
    try:
        yield connected
    finally:
        await connected.close()


@pytest.fixture
def raw(redis_backend: Backend, redis_url: str) -> Iterator[Any]:
    """A plain redis-py client (blocking, answers are bytes) to look at the emptied server."""
    del redis_url  # wanted for the emptying only
    client = redis_backend.client()
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A Valkey of the test's own, with AOF, that it may stop, kill, freeze or fill."""
    with valkey(appendfsync="always") as server:
        yield server
