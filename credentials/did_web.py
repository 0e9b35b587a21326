"""did:web: a name on the web as a DID (the did:web method, W3C CCG), mapped by rule (H1, H2).

Nothing is decoded on the way from DID to URL but the one `%3A` before a port: a DID that would
need more cannot name another place than it seems to (H2).
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from credentials.errors import DidError

PREFIX: Final = "did:web:"
MAX_CHARS: Final = 2_048

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?P<host>{_LABEL}(?:\.{_LABEL})*)(?:%3[Aa](?P<port>[1-9][0-9]{{0,4}}))?")
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_NEVER = re.compile(rb"[\x00-\x1f\x7f/\\]")
"""Bytes that no path segment holds, encoded or not: some server between would take them for more
than a part of a name."""


def url(did: str) -> str:
    """Where the document of a did:web lies.

    `did:web:example.com%3A3000:user:alice` -> `https://example.com:3000/user/alice/did.json`.
    Raises DidError `invalidDid` or `methodNotSupported`; its message never repeats the DID.
    """
    domain, path = split(did)
    match = _DOMAIN.fullmatch(domain)
    assert match is not None  # noqa: S101 - `split` has seen to it
    port = f":{match['port']}" if match["port"] else ""
    folder = "/".join(path) if path else ".well-known"
    return f"https://{match['host']}{port}/{folder}/did.json"


def split(did: str) -> tuple[str, tuple[str, ...]]:
    """The domain (with its `%3A` and port) and the path segments. Raises DidError."""
    if len(did) > MAX_CHARS or not did.isascii():
        raise DidError("invalidDid", f"A DID is ASCII of at most {MAX_CHARS} characters.")
    scheme, _, rest = did.partition(":")
    method, colon, _ = rest.partition(":")
    if scheme != "did" or not colon:
        raise DidError("invalidDid", "A DID starts with did:, a method and a colon.")
    if method != "web":
        raise DidError("methodNotSupported", "This is not a did:web.")
    domain, *path = did.removeprefix(PREFIX).split(":")
    if not is_domain(domain):
        raise DidError(
            "invalidDid",
            "A did:web names a domain, and a port only after %3A; IP addresses are not allowed.",
        )
    if not all(_is_segment(segment) for segment in path):
        raise DidError("invalidDid", "A part of the path of this did:web is empty or not allowed.")
    return domain, tuple(path)


def is_domain(text: str) -> bool:
    """Whether `text` may follow `did:web:`: a domain, a port after `%3A`, no IP address."""
    match = _DOMAIN.fullmatch(text)
    if match is None or len(match["host"]) > 253:
        return False
    # What ends in a number is an IPv4 address to every URL parser, however few parts it has.
    if _NUMBER.fullmatch(match["host"].rpartition(".")[2]):
        return False
    return match["port"] is None or int(match["port"]) <= 65_535


def domain_of(web_url: str) -> str | None:
    """The domain of did:web DIDs hosted at `web_url`; None when its host cannot be in one."""
    parts = urlsplit(web_url)
    port = f"%3A{parts.port}" if parts.port else ""
    domain = f"{parts.hostname or ''}{port}"
    return domain if is_domain(domain) else None


def join(domain: str, *path: str) -> str:
    """The DID of a path under a domain."""
    return ":".join([f"{PREFIX}{domain}", *path])


def _is_segment(segment: str) -> bool:
    if _SEGMENT.fullmatch(segment) is None:
        return False
    decoded = unquote_to_bytes(segment)
    return decoded not in (b".", b"..") and _NEVER.search(decoded) is None
