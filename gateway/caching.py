"""Answers that have not changed need not be sent again (RFC 9110 section 13)."""

import hashlib

from aiohttp import web
from multidict import CIMultiDict


def tagged(request: web.Request, response: web.Response) -> web.Response:
    """`response` with a strong ETag; 304 without a body when the client has it already.

    Nobody keeps job data for others: `Cache-Control: no-store` stays."""
    body = response.body
    tag = hashlib.sha256(body if isinstance(body, bytes) else b"").hexdigest()[:32]
    # What was sent compressed has a tag of its own (`gateway.packing`).
    known = {one.value for one in request.if_none_match or ()} & {tag, f"{tag}-gzip", "*"}
    if known:
        tag = f"{tag}-gzip" if f"{tag}-gzip" in known else tag
        kept = {k: v for k, v in response.headers.items() if k.lower() not in _OF_THE_BODY}
        response = web.Response(status=304, headers=CIMultiDict(kept))
    response.headers["ETag"] = f'"{tag}"'
    return response


_OF_THE_BODY = ("content-type", "content-length")
