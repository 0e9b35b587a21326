"""What is written down of an attempt (WH-21): enough to see why, and nothing secret."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumers.delivery.verdict import Verdict
from outbound.client import Reply

EXCERPT_BYTES = 4_096
"""Of the body, per attempt: the records of all ten attempts of a `durable` job fit."""
HEADER_CHARS = 256
KEPT_HEADERS = (
    "content-type", "content-length", "date", "server", "retry-after", "location", "request-id",
    "x-request-id", "x-correlation-id", "traceparent", "cf-ray", "via",
)  # fmt: skip
"""Headers that help to find a request in the receiver's logs. Cookies and the like are not
kept."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When an attempt began (epoch ms) and how long it took."""

    started_ms: int
    duration_ms: int


def record(
    number: int, timing: Timing, verdict: Verdict, reply: Reply | None, next_ms: int | None
) -> dict[str, Any]:
    """An attempt as JSON. `next_ms`: the earliest moment of the next one, None when there is
    none. What is under `operator` is not for tenants (SS-7)."""
    entry: dict[str, Any] = {
        "number": number,
        "started": timing.started_ms,
        "durationMs": timing.duration_ms,
        "outcome": verdict.destiny,
        "code": verdict.code,
        "nextAttemptAt": next_ms,
        "status": None,
    }
    if reply is not None:
        entry |= {
            "status": reply.status,
            "headers": _headers(reply.headers),
            **_excerpt(reply.body),
            "operator": {"address": reply.address},
        }
    return entry


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: _text(headers[name])[:HEADER_CHARS] for name in KEPT_HEADERS if name in headers}


def _text(value: str) -> str:
    """A header value without surrogates, which stand for bytes that are not UTF-8: such a value is
    ISO 8859-1 (RFC 9110, section 5.5)."""
    return value if value.isascii() else _decode(value.encode("utf-8", "surrogateescape"))


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _excerpt(body: bytes) -> dict[str, Any]:
    part = body[:EXCERPT_BYTES]
    cut = {"bodyTruncated": len(body) > len(part)}
    for spare in range(4):  # the cut may have gone through a character of up to four bytes
        try:
            text = part[: len(part) - spare].decode()
        except UnicodeDecodeError:
            continue
        if spare == 0 or cut["bodyTruncated"]:
            return {"body": text, "bodyEncoding": "utf-8", **cut}
    return {"body": base64.b64encode(part).decode(), "bodyEncoding": "base64", **cut}
