"""Bodies of answers, read up to a number of bytes and, where it matters, at a lowest rate."""

import asyncio

import aiohttp

CHUNK_BYTES = 16 * 1024
BODY_GRACE_S = 3.0
BODY_BYTES_PER_S = 4 * 1024
"""The slowest body that is read to its end: it may be late by the grace at any time."""


async def read_in_time(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body, with a deadline that every byte puts off a little. Raises TimeoutError."""
    body = bytearray()
    first_s = asyncio.get_running_loop().time() + BODY_GRACE_S
    async with asyncio.timeout_at(first_s) as deadline:
        while await _read_some(body, response, max_bytes):
            deadline.reschedule(first_s + len(body) / BODY_BYTES_PER_S)
    return bytes(body)


async def read_into(body: bytearray, response: aiohttp.ClientResponse, max_bytes: int) -> None:
    """Read up to `max_bytes` into `body`; what came before an error stays in it."""
    while await _read_some(body, response, max_bytes):
        pass


async def _read_some(body: bytearray, response: aiohttp.ClientResponse, max_bytes: int) -> bool:
    """Read on; False at the end, or when there are `max_bytes`."""
    chunk = await response.content.read(min(CHUNK_BYTES, max_bytes - len(body)))
    body += chunk
    return bool(chunk) and len(body) < max_bytes
