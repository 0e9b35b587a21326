"""Integrity of related resources (VCDM 2.0, 5.3): what a resource must be, by its digest.

A verifier that makes use of a resource must compute its digest. Used here are the contexts that
come along, and the schemas and status lists that are looked up. Nothing is fetched for its digest
alone: what nobody reads deceives nobody.
"""

import base64
import binascii
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import base58

from credentials.datamodel import FIRST_CONTEXT, Json, entries, malformed
from credentials.verdict import Invalid

MAX_DIGEST_CHARS = 2_048
MAX_DIGESTS = 16
MAX_MULTIBASE_CHARS = 200
"""Longest one that is read; base58 takes quadratic time. SHA-512 in hexadecimal has 133."""

_SRI = re.compile(r"(sha256|sha384|sha512)-([A-Za-z0-9+/_-]+={0,2})(?:\?[!-~]*)?")
_MULTIHASH = {b"\x12\x20": "sha256", b"\x20\x30": "sha384", b"\x13\x40": "sha512"}
"""Code and length."""
_CONTEXTS = Path(__file__).parent / "context_documents"

Digest = tuple[str, bytes]
"""Algorithm by its name in hashlib, and the digest."""


def check(credential: Json, url: str, body: bytes) -> None:
    """Return when `body` is what relatedResource of a 2.0 credential says of `url`, or nothing is
    said of it. Raises Invalid RELATED_RESOURCE_MISMATCH, MALFORMED_VALUE_ERROR."""
    for resource in _related(credential):
        if resource.get("id") == url and not fits(resource, body):
            raise Invalid(
                "RELATED_RESOURCE_MISMATCH",
                f"{url[:256]} is not what relatedResource says: its digest is another one.",
            )


def check_contexts(credential: Json) -> None:
    """`check` for each context that comes along. Raises as `check`."""
    if _related(credential):
        for url, body in _contexts().items():
            check(credential, url, body)


def _related(credential: Json) -> list[Json]:
    """In data model 1.1 the word means nothing."""
    first = credential.get("@context", [None])[0]
    return entries(credential, "relatedResource") if first == FIRST_CONTEXT["2.0"] else []


def fits(thing: Json, body: bytes) -> bool:
    """Whether `body` has the digests that an object names, of both kinds if there are both.

    Of several of one kind, one of the strongest must be it (Subresource Integrity, 3.3.4). Raises
    Invalid MALFORMED_VALUE_ERROR for digests that cannot be read: nobody knows what they say.
    """
    return all(_is_one_of(digests, body) for digests in digests_of(thing))


def digests_of(thing: Json) -> list[list[Digest]]:
    """What `digestSRI` and `digestMultibase` say, if they are there. Raises as `fits`."""
    found = []
    if "digestSRI" in thing:
        found.append(_read_all(_read_sri, thing["digestSRI"], "digestSRI"))
    if "digestMultibase" in thing:
        found.append(_read_all(_read_multibase, thing["digestMultibase"], "digestMultibase"))
    return found


def _is_one_of(digests: list[Digest], body: bytes) -> bool:
    strongest = max(algorithm for algorithm, _ in digests)
    return (strongest, hashlib.new(strongest, body).digest()) in digests


def _read_all(read: Any, value: Any, name: str) -> list[Digest]:
    items = value if isinstance(value, list) else [value]
    fitting = all(isinstance(item, str) and len(item) <= MAX_DIGEST_CHARS for item in items)
    if not fitting or len(items) > MAX_DIGESTS:
        raise _unreadable(name)
    words = [word for item in items for word in item.split()]
    try:
        digests = [read(word) for word in words]
    except ValueError:  # binascii.Error is one
        raise _unreadable(name) from None
    if not any(digests):
        raise _unreadable(name)
    return [digest for digest in digests if digest is not None]


def _read_sri(word: str) -> Digest | None:
    """None: of another algorithm, which is passed over as long as there is one that is known."""
    match = _SRI.fullmatch(word)
    if match is None:
        return None
    algorithm, text = match[1], match[2].rstrip("=")
    raw = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
    if len(raw) != hashlib.new(algorithm).digest_size:
        raise binascii.Error
    return algorithm, raw


def _read_multibase(word: str) -> Digest | None:
    base, text = word[:1], word[1:MAX_MULTIBASE_CHARS]
    if base == "z":
        raw = base58.b58decode(text)
    elif base == "u":
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    elif base in ("f", "F"):
        raw = bytes.fromhex(text)
    else:
        return None
    algorithm = _MULTIHASH.get(raw[:2])
    if algorithm is not None and len(raw) != 2 + raw[1]:
        raise binascii.Error
    return None if algorithm is None else (algorithm, raw[2:])


def _unreadable(name: str) -> Invalid:
    return malformed(f"{name} must be a digest of SHA-256, SHA-384 or SHA-512.")


@cache
def _contexts() -> dict[str, bytes]:
    """URL -> what its publisher serves, byte for byte."""
    lines = json.loads((_CONTEXTS / "contexts.json").read_bytes())
    return {line["url"]: (_CONTEXTS / line["file"]).read_bytes() for line in lines}
