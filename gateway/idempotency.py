"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a request that is sent again
has the effect and the answer of the first one (API-5).

What is remembered of submissions lies in Redis, beside the jobs (`streams.once`); of other requests
see `gateway.remembered`. Here is only which submissions this process is answering right now.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from typing import Final

import orjson
from aiohttp import web

from gateway.body import BODY
from gateway.errors import Kind, Refusal
from gateway.principal import principal_of
from streams.once import OnceKey

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = {"Idempotency-Replayed": "true"}
IN_FLIGHT: web.AppKey[set[str]] = web.AppKey("in_flight", set)
_BARE = re.compile(r"[!#-~][!-~]{0,254}")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,510})"')
LENGTH_MAX = 255


class BadKey(Refusal):
    """No key: not 1..255 printable characters."""

    kind = Kind(400, "invalid_idempotency_key", "The Idempotency-Key cannot be used")


class InFlight(Refusal):
    """The first request with this key has not been answered yet."""

    kind = Kind(409, "idempotency_in_flight", "The same request is being answered")
    headers = {"Retry-After": "1"}  # noqa: RUF012 - as the base has it


class Reused(Refusal):
    """The key was used with another body."""

    kind = Kind(422, "idempotency_key_reused", "The Idempotency-Key belongs to another request")


def key_in(request: web.Request) -> str | None:
    """The key of a request; a quoted string and a bare word are the same key. Raises BadKey."""
    found = request.headers.getall(HEADER, ())
    if not found:
        return None
    text = found[0].strip(" \t")
    quoted = _STRING.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(found) > 1 or not (quoted or _BARE.fullmatch(text)) or len(key) > LENGTH_MAX:
        raise BadKey(f"{HEADER} must be one word or quoted string of 1..255 printable characters.")
    return key


def install(app: web.Application) -> None:
    """Before it starts: nobody is being answered."""
    app[IN_FLIGHT] = set()


def scoped(request: web.Request, key: str) -> str:
    """A hash of the key and its scope: the organization, the method and the path."""
    organization_id = principal_of(request).organization_id
    scope = orjson.dumps([organization_id, request.method, request.path, key])
    return hashlib.sha256(scope).hexdigest()[:40]


@contextlib.contextmanager
def once(request: web.Request) -> Iterator[OnceKey | None]:
    """The key of a submission whose body has been read; None: it has none.

    Raises BadKey, and InFlight while this process answers another request with it."""
    key = key_in(request)
    if key is None:
        yield None
        return
    digest = scoped(request, key)
    flying = request.app[IN_FLIGHT]
    if digest in flying:
        raise InFlight("The first request with this Idempotency-Key has not been answered yet.")
    flying.add(digest)
    try:
        yield OnceKey(digest, hashlib.sha256(request.get(BODY, b"")).hexdigest())
    finally:
        flying.discard(digest)
