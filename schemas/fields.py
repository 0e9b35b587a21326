"""Strings and objects that several payloads share, each checked as far as it goes without keys,
network or clock. Patterns run in pydantic's linear-time engine and end in `\\z`, so a trailing
newline never passes.
"""

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from schemas.plain_words import plain, worded

MAX_JSON_DEPTH = 64
MAX_JSON_VALUES = 20_000
"""In an object of free form: members and items, at every level."""
MAX_URL_CHARS = 2_048
MAX_DID_CHARS = 2_048


class Payload(BaseModel):
    """A closed model with the camelCase names of the wire and no others."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)


NO_CONTROLS = worded(r"^[^\x00-\x1f\x7f-\x9f]+\z", "must not hold control characters")

OrganizationId = Annotated[
    str, StringConstraints(min_length=1, max_length=256, pattern=NO_CONTROLS)
]
"""The tenant a job belongs to: 1..256 characters, no control characters."""


NO_TENANT = "default"
"""What stands for the organization of a job that names none, where one has to be named: in
callbacks, destinations and sealed jobs. Rights in it would be rights in jobs of the platform."""


def _normalized(name: str) -> str:
    if unicodedata.normalize("NFC", name) != name:
        raise ValueError("must be in Unicode normalization form C: names are compared as bytes")
    if name == NO_TENANT:
        raise ValueError(f"must not be {NO_TENANT}, which stands for jobs without an organization")
    return name


NewOrganizationId = Annotated[OrganizationId, AfterValidator(_normalized)]
"""The name of an organization that is given rights: two spellings of one text are not two, and it
is not the one of jobs without an organization."""

UserId = OrganizationId
"""Who submitted it, with the same bounds."""

_DID = r"did:[a-z0-9]+:(?:(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})*:)*(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+"

Did = Annotated[
    str,
    StringConstraints(
        max_length=MAX_DID_CHARS,
        pattern=worded(rf"^{_DID}\z", "must be a DID, as did:web:example.org"),
    ),
]
"""A DID by the syntax of DID Core 3.1; no path, query or fragment. The method is not judged."""

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(value: str) -> bool:
    """Whether this is a trace context of W3C Trace Context 3.2: 55 characters, with a trace id and
    a parent id that are not all zeros."""
    if not _TRACEPARENT.fullmatch(value):
        return False
    _, trace, parent, _ = value.split("-")
    return bool(trace.strip("0") and parent.strip("0"))


def _traceparent(value: str) -> str:
    if not is_traceparent(value):
        raise ValueError(
            "is not a W3C trace context, as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        )
    return value


Traceparent = Annotated[str, StringConstraints(max_length=55), AfterValidator(_traceparent)]
"""A W3C trace context: `traceparent`."""

_DATE_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-](?:0\d|1[0-3]):[0-5]\d|[+-]14:00)"
)


def _real_date_time(value: str) -> str:
    if _DATE_TIME.fullmatch(value) is None:
        raise ValueError("must be an RFC 3339 date and time with offset, as 2030-01-31T00:00:00Z")
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"is not a date and time that exists: {error}") from None
    return value


DateTimeStamp = Annotated[
    str, StringConstraints(max_length=64, strict=True), AfterValidator(_real_date_time)
]
"""A calendar moment in the intersection of RFC 3339 and xsd:dateTimeStamp: the offset is required
(up to 14:00), `T` and `Z` are upper-case, no leap second. Kept as it was written."""

_PRINTABLE = re.compile(r"[!-~]+")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\]")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
# A last label that is a number makes the whole host one (WHATWG URL, "ends in a number").
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")


def _web_url(value: str) -> str:
    # Before parsing: urlsplit drops tabs and line ends, so it would judge another string.
    if _PRINTABLE.fullmatch(value) is None or "\\" in value:
        raise ValueError("must be printable ASCII without spaces or backslashes")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must start with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password")
    host = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    if _HOST.fullmatch(host.removesuffix(":")) is None or len(host) > 255:
        raise ValueError("must name a host")
    # Other spellings of an address (127.1, 0x7f000001) are read differently by different software.
    if _NUMERIC.fullmatch(host.removesuffix(":")) and not _IPV4.fullmatch(host.removesuffix(":")):
        raise ValueError("must write an IPv4 address as four decimal numbers")
    if port == 0:
        raise ValueError("must not use port 0")
    if "#" in value:
        raise ValueError("must not have a fragment")
    return value


WebUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_URL_CHARS, strict=True),
    AfterValidator(_web_url),
]
"""An absolute http(s) URL with a host, without user information or fragment, at most 2048
characters. Only its shape is judged; whether the address may be dialled is decided at the socket.
"""


def _plain(value: dict[Any, Any]) -> None:
    """Raise unless `value` is JSON, not too deep and not too much of it: level by level, because
    a payload can be a million brackets, and this is done while others wait."""
    level: list[Any] = [value]
    count = 0
    for _ in range(MAX_JSON_DEPTH):
        deeper: list[Any] = []
        for node in level:
            count += len(node)
            if count > MAX_JSON_VALUES:
                raise ValueError(f"must not hold more than {MAX_JSON_VALUES} values")
            for item in _items(node):
                if isinstance(item, dict | list):
                    deeper.append(item)
                elif type(item) is not str or not item.isascii():
                    _plain_scalar(item)
        if not deeper:
            return
        level = deeper
    raise ValueError(f"must not nest deeper than {MAX_JSON_DEPTH} levels")


def _items(node: Any) -> Iterable[Any]:
    if isinstance(node, list):
        return node
    for name in node:
        if type(name) is not str:
            raise ValueError("must be JSON: member names are strings")
        name.encode()
    return cast("Iterable[Any]", node.values())


def _plain_scalar(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("must be JSON: NaN and infinity are not numbers there")
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError("must hold integers of at most 64 bits; send longer ones as strings")
    elif value is not None:
        raise ValueError(f"must be JSON, which has no {type(value).__name__}")


def json_object(value: Any) -> Any:
    """`value`, if what is in it is plain JSON; anything but a dict is somebody else's to refuse."""
    if isinstance(value, dict):
        try:
            _plain(value)
        except UnicodeEncodeError:
            raise ValueError("must be Unicode text: it holds half of a surrogate pair") from None
    return value


JsonObject = Annotated[dict[str, Any], BeforeValidator(json_object)]
"""An object of plain JSON: string names, finite numbers, integers of at most 64 bits, whole
characters, at most 64 levels."""


def first_fault(error: ValidationError) -> str:
    """`/place/in/the/value: what is wrong there`, of the first thing that is."""
    fault = error.errors(include_url=False, include_input=False)[0]
    words = plain(fault["type"], fault["msg"], fault.get("ctx"))
    return f"/{'/'.join(str(part) for part in fault['loc'])}: {words}"
