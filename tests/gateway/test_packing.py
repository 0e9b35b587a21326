"""Lists are compressed for those who want it, and nothing else is."""

import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from streams import NewJob, Queue

LIST = "/queue/vc-issuance/jobs"
GZIP = {"Accept-Encoding": "br, gzip;q=0.5"}


@pytest.fixture
async def plain(http: ClientSession) -> AsyncIterator[ClientSession]:
    async with ClientSession(http._base_url, auto_decompress=False) as session:
        yield session


async def ask(http: ClientSession, path: str = LIST, **headers: str) -> tuple[int, Any, bytes]:
    async with http.get(path, headers={"Accept-Encoding": "identity"} | headers) as response:
        return response.status, response.headers, await response.read()


async def test_a_list_is_packed_for_those_who_want_it(
    plain: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    _, headers, body = await ask(plain, **GZIP)
    assert ("Content-Encoding" in headers, headers["Vary"]) == (False, "Accept-Encoding")
    await queue.add_many([NewJob("issue", issuance)] * 10)
    _, headers, body = await ask(plain)
    _, packed_headers, packed = await ask(plain, **GZIP)
    assert "Content-Encoding" not in headers
    assert packed_headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == body
    assert len(packed) < len(body) / 2
    assert packed_headers["ETag"] != headers["ETag"]
    for tag in (headers["ETag"], packed_headers["ETag"]):
        status, again, _ = await ask(plain, **GZIP, **{"If-None-Match": tag})
        assert (status, again["ETag"]) == (304, tag)


@pytest.mark.parametrize("accepts", ["identity", "gzip;q=0", "gzip; q=0.0", "br"])
async def test_who_does_not_want_it(
    plain: ClientSession, queue: Queue, issuance: dict[str, Any], accepts: str
) -> None:
    await queue.add_many([NewJob("issue", issuance)] * 10)
    _, headers, _ = await ask(plain, **{"Accept-Encoding": accepts})
    assert "Content-Encoding" not in headers


async def test_a_single_job_is_sent_as_it_is(
    plain: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    (added,) = await queue.add_many([NewJob("issue", issuance | {"claims": {"x": "x" * 5_000}})])
    _, headers, body = await ask(plain, f"/queue/vc-issuance/job/{added.id}", **GZIP)
    assert ("Content-Encoding" in headers, len(body) > 5_000) == (False, True)
