"""What a POST under an Idempotency-Key was answered, which is what its repetition is answered.

Every POST of the route table takes part. Submissions remember by themselves, in the script that
adds the jobs; the others claim their key in Redis before and keep the answer after. Only successes
are kept, for 24 hours. An answer that holds a secret is kept encrypted under the credential that
asked, so that Redis holds no secret, and nobody else gets it.
"""

import functools
import hashlib
import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

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
from streams.errors import CredstreamError, KeyReused
from streams.once import OnceKey

logger = logging.getLogger(__name__)

ANSWER_MAX_BYTES: Final = 256 * 1024
KEPT_HEADERS: Final = ("Content-Type", "Location", "Cache-Control", "Vary", "ETag")
NONCE_BYTES: Final = 12
PLAIN, SEALED, TOO_LONG = b"p", b"s", b"l"


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
    said = None
    try:
        response = await route.handler(request)
        said = _said(response, seal)
    finally:
        await _end(request, found, said)
    return response


async def _end(request: web.Request, claimed: answers.Claimed, said: bytes | None) -> None:
    """Keep the answer, or give the key free. What was done is done and told, even when Redis has
    just gone; then the claim runs out."""
    redis = request.app[REDIS]
    try:
        if said is None:
            await answers.drop(redis, claimed)
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
    if seal is None:
        return PLAIN + text
    nonce = secrets.token_bytes(NONCE_BYTES)
    return SEALED + nonce + seal.encrypt(nonce, text, None)


def _again(said: bytes, seal: AESGCM | None) -> web.Response:
    """The answer as it was. Raises Withheld."""
    kind, text = said[:1], said[1:]
    if kind == TOO_LONG:
        raise Withheld("It has been done; the answer was too long to be kept.")
    if kind == SEALED:
        opened = None
        if seal is not None:
            with suppress(InvalidTag):
                opened = seal.decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], None)
        if opened is None:
            raise Withheld("It has been done; only the credential that asked sees the answer.")
        text = opened
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
