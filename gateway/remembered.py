"""What a POST under an Idempotency-Key was answered, which is what its repetition is answered.

Every POST of the route table takes part. Submissions remember by themselves, in the script that
adds the jobs; the others claim their key in Redis before and keep the answer after. A handler says
with `planned` what it is about to do, and hands `mark_of` to the scripts that do it: so a request
whose gateway died between effect and answer is finished, not done twice. Only successes are kept,
for 24 hours. An answer that holds a secret is kept encrypted under the credential that asked, so
that Redis holds no secret, and nobody else gets it.
"""

import functools
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import orjson
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.body import read_body, refuse_encoding
from gateway.errors import Kind, Refusal
from gateway.idempotency import REPLAYED, InFlight, Reused, key_in, scoped
from gateway.keys import REDIS
from gateway.routes import Route
from streams import answers
from streams.errors import CredstreamError, KeyReused, NotFound, WrongState
from streams.job import new_ids
from streams.once import OnceKey

logger = logging.getLogger(__name__)

ANSWER_MAX_BYTES: Final = 256 * 1024
KEPT_HEADERS: Final = ("Content-Type", "Location", "Cache-Control", "Vary", "ETag")
NONCE_BYTES: Final = 12
PLAIN, SEALED, TOO_LONG = b"p", b"s", b"l"
Plan = TypeVar("Plan")


@dataclass(frozen=True, slots=True)
class Call:
    """A request under an idempotency key, while it is answered."""

    claimed: answers.Claimed
    seal: AESGCM | None


_CALL = web.RequestKey("call", Call)


class Withheld(Refusal):
    """It was done, and what it was answered cannot be shown again."""

    kind = Kind(409, "idempotency_answer_withheld", "It has been done")


def remembering(route: Route) -> Route:
    """The same route; a POST that does not remember by itself is answered once per key."""
    if route.method != "POST" or route.lines or route.is_page:
        return route
    handler = route.handler

    @functools.wraps(handler)
    async def once(request: web.Request) -> web.StreamResponse:
        key = key_in(request)
        if key is None:
            return await handler(request)
        return await _once(request, route, key)

    return replace(route, handler=once)


async def _once(request: web.Request, route: Route, key: str) -> web.StreamResponse:
    refuse_encoding(request)
    body = await read_body(request, bulk=True)
    print_of = hashlib.sha256(request.rel_url.raw_query_string.encode() + b"\n" + body)
    once_key = OnceKey(scoped(request, key), print_of.hexdigest())
    redis = request.app[REDIS]
    try:
        found = await answers.claim(redis, once_key)
    except KeyReused:
        raise Reused("Another body was sent with this Idempotency-Key; take a new one.") from None
    except answers.Running:
        told = "The first request with this Idempotency-Key has not been answered yet."
        raise InFlight(told) from None
    seal = _seal(request, key) if route.secret else None
    if isinstance(found, bytes):
        return _again(found, seal)
    request[_CALL] = Call(found, seal)
    said, refused = None, False
    try:
        response = await route.handler(request)
        said = _said(response, seal)
        refused = said is None
    except (Refusal, NotFound, WrongState) as error:
        refused = not isinstance(error, Withheld)  # who may not finish it spoils nothing
        raise
    finally:
        await _end(request, found, said, refused=refused)
    return response


def mark_of(request: web.Request) -> str:
    """What the scripts of this request write down as done, they write under this name; empty: the
    request has no Idempotency-Key."""
    call = request.get(_CALL)
    return "" if call is None else call.claimed.mark


async def planned(request: web.Request, make: Callable[[], Awaitable[Plan]]) -> Plan:
    """What `make` answers (JSON), decided once under an Idempotency-Key and written down before
    anything is done. Raises as `make`; InFlight, Withheld."""
    call = request.get(_CALL)
    if call is None:
        return await make()
    text = call.claimed.plan
    if not text:
        text = _closed(orjson.dumps(await make()), call.seal)
        try:
            text = await answers.plan(request.app[REDIS], call.claimed, text)
        except answers.Running:
            told = "Another request with this Idempotency-Key goes on with it."
            raise InFlight(told) from None
    opened = _opened(text, call.seal)
    if opened is None:
        raise Withheld("It was begun; only the credential that began it can finish it.")
    plan: Plan = orjson.loads(opened)
    return plan


async def new_id() -> str:
    """The id of a job or batch that is going to be added; a plan."""
    return new_ids(1)[0]


async def _end(
    request: web.Request, claimed: answers.Claimed, said: bytes | None, *, refused: bool
) -> None:
    """Keep the answer, or give the key free. What was done is done and told, even when Redis has
    just gone; then the claim runs out."""
    redis = request.app[REDIS]
    try:
        if said is None:
            await answers.drop(redis, claimed, refused=refused)
        else:
            await answers.keep(redis, claimed, said)
    except CredstreamError as error:
        logger.warning("the answer to %s %s is not kept: %s", request.method, request.path, error)


def _said(response: web.StreamResponse, seal: AESGCM | None) -> bytes | None:
    """What to keep of an answer; None: it is no success."""
    if response.status // 100 != 2:
        return None
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes | bytearray) or len(body) > ANSWER_MAX_BYTES:
        return TOO_LONG
    kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    text = orjson.dumps([response.status, kept]) + b"\n" + body
    return _closed(text, seal)


def _closed(text: bytes, seal: AESGCM | None) -> bytes:
    if seal is None:
        return PLAIN + text
    nonce = secrets.token_bytes(NONCE_BYTES)
    return SEALED + nonce + seal.encrypt(nonce, text, None)


def _opened(said: bytes, seal: AESGCM | None) -> bytes | None:
    """None: it was closed by another credential."""
    if said[:1] != SEALED:
        return said[1:]
    if seal is not None:
        with suppress(InvalidTag):
            return seal.decrypt(said[1 : 1 + NONCE_BYTES], said[1 + NONCE_BYTES :], None)
    return None


def _again(said: bytes, seal: AESGCM | None) -> web.Response:
    """The answer as it was. Raises Withheld."""
    if said == TOO_LONG:
        raise Withheld("It has been done; the answer was too long to be kept.")
    text = _opened(said, seal)
    if text is None:
        raise Withheld("It has been done; only the credential that asked sees the answer.")
    head, _, body = text.partition(b"\n")
    status, headers = orjson.loads(head)
    return web.Response(status=status, headers={**headers, **REPLAYED}, body=body)


def _seal(request: web.Request, key: str) -> AESGCM:
    """A cipher that takes the credential of the request, which is in Redis only as a hash."""
    material = "\0".join((key, *_credentials(request.headers))).encode()
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"credstream answer").derive(material))


def _credentials(headers: Mapping[str, str]) -> list[str]:
    bearer = headers.get("Authorization", "").partition(" ")[2].strip()
    found = bearer or headers.get("X-API-Key", "").strip() or headers.get("Cookie", "")
    return [found] if found else []
