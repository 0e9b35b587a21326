"""One-click unsubscription (RFC 8058): the address in List-Unsubscribe of a message.

Mail providers POST to it without cookies or a key; the token is all there is, and it names one
address and one organization by their hashes. A person who follows the link is asked first: GET
changes nothing, because scanners follow every link in a message.
"""

import asyncio
from html import escape

from aiohttp import web

from gateway.body import BODY, ask_for_body
from gateway.errors import InvalidRequest, Kind, Refusal, SlowBody
from gateway.keys import REDIS, REQUEST_ID, SETTINGS
from gateway.security import client_address
from streams import mail
from streams.audit import Deed

REASON = "unsubscribed"
ONE_CLICK = (b"List-Unsubscribe", b"One-Click")
BODY_BYTES = 4_096
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="robots" content="noindex"><title>{title}</title></head>
<body><h1>{title}</h1>{body}</body>
</html>
"""
_FORM = """
<p>You will get no more mail of this kind from this sender.</p>
<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">
<button type="submit">Unsubscribe</button></form>
"""


class LinkUnknown(Refusal):
    """The token is not one of ours."""

    kind = Kind(404, "link_unknown", "This link is not valid")


async def ask(request: web.Request) -> web.Response:
    """GET /mail/unsubscribe/{token}: a page with a button; nothing is changed."""
    await _named(request)
    return _page("Unsubscribe", _FORM)


async def unsubscribe(request: web.Request) -> web.Response:
    """POST /mail/unsubscribe/{token}: this address gets no more mail from this organization."""
    where, entry_id = await _named(request)
    body = await _read(request)
    if not all(word in body for word in ONE_CLICK):
        raise InvalidRequest("The body must be List-Unsubscribe=One-Click (RFC 8058).")
    redis = request.app[REDIS]
    known = await mail.suppressed(redis, where, entry_id)
    # What holds already is not recorded again: whoever has the link may send it for ever.
    if known is None or known.reason != REASON or known.until_ms is not None:
        who = Deed(
            actor="recipient",
            action="mail.unsubscribe",
            target=entry_id,
            address=client_address(request),
            request_id=request.get(REQUEST_ID),
        ).encode()
        await mail.suppress(redis, where, entry_id, REASON, duration_ms=mail.FOREVER_MS, who=who)
    return _page("Unsubscribed", "<p>You will get no more mail of this kind.</p>")


async def _named(request: web.Request) -> tuple[str, str]:
    """The list and the entry that the token in the path names. Raises LinkUnknown."""
    secret = await mail.link_secret(request.app[REDIS])
    named = mail.read_token(secret, request.match_info["token"])
    if named is None:
        raise LinkUnknown("The link is not complete, or it was made by another installation.")
    return named


async def _read(request: web.Request) -> bytes:
    """The beginning of the body; a form or multipart, nobody needs to take it apart."""
    await ask_for_body(request)
    body: bytes = request.get(BODY, b"")
    try:
        async with asyncio.timeout(request.app[SETTINGS].body_timeout_s):
            while len(body) < BODY_BYTES and not request.content.at_eof():
                body += await request.content.readany()
    except TimeoutError:
        raise SlowBody("The body must arrive sooner.") from None
    return body


def _page(title: str, body: str) -> web.Response:
    text = _PAGE.format(title=escape(title), body=body)
    return web.Response(text=text, content_type="text/html", headers=_HEADERS)
