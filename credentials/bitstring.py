"""The bits of a status list (W3C Bitstring Status List 1.0): packed, compressed, read.

A bitstring is `bytes`; index 0 is the left-most, that is the most significant, bit of its first
byte, as in Redis. `encodedList` is multibase base64url (`u`, no padding) of its GZIP.
"""

import base64
import re
import zlib

from credentials.errors import CredentialError

MIN_BITS = 131_072
"""The shortest list allowed (16 KiB), so that an index tells nothing about a credential."""

MAX_BYTES = 8 * 1024 * 1024
"""The longest list read, uncompressed: 67,108,864 entries. 256 MiB of zeros are 261 KB of GZIP."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_INDEX = re.compile(r"0|[1-9][0-9]{0,15}")
_GZIP = 31
"""zlib's number for GZIP and nothing else, with a window of 32 KiB."""


class BitstringError(CredentialError):
    """A list or index that says nothing. `code` is the specification's name for why:
    `MALFORMED_VALUE_ERROR`, `STATUS_LIST_LENGTH_ERROR` or `RANGE_ERROR`."""


def encode(bits: bytes, *, min_bits: int = MIN_BITS) -> str:
    """`encodedList` of a bitstring; zeros are added up to `min_bits`.

    The same bits always give the same text: the GZIP carries no time and no name.
    """
    compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    packed = compressor.compress(bits.ljust((min_bits + 7) // 8, b"\0")) + compressor.flush()
    return "u" + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode(encoded: str, *, min_bits: int = MIN_BITS, max_bytes: int = MAX_BYTES) -> bytes:
    """The bitstring of an `encodedList`; never unpacks more than `max_bytes` (I6).

    Raises BitstringError `MALFORMED_VALUE_ERROR` (no `u`, padding, not base64url, not exactly one
    whole GZIP member), `STATUS_LIST_LENGTH_ERROR` (shorter than `min_bits`, or above `max_bytes`).
    """
    if not encoded.startswith("u"):
        raise _malformed("does not start with u, the multibase prefix of base64url")
    if _BASE64URL.fullmatch(encoded, 1) is None or len(encoded) % 4 == 2:
        raise _malformed("is not base64url without padding")
    packed = base64.urlsafe_b64decode(encoded[1:] + "=" * (-(len(encoded) - 1) % 4))
    unpacker = zlib.decompressobj(_GZIP)
    try:
        bits = unpacker.decompress(packed, max_bytes + 1)
    except zlib.error:
        raise _malformed("is not GZIP, or is damaged") from None
    if len(bits) > max_bytes:
        raise BitstringError(
            "STATUS_LIST_LENGTH_ERROR", f"The status list is longer than {max_bytes} bytes."
        )
    if not unpacker.eof:
        raise _malformed("ends in the middle")
    if unpacker.unused_data:
        raise _malformed("has something after its GZIP member")
    if len(bits) * 8 < min_bits:
        raise BitstringError(
            "STATUS_LIST_LENGTH_ERROR",
            f"The status list has {len(bits) * 8} entries; at least {min_bits} are required.",
        )
    return bits


def index(text: object) -> int:
    """The number a `statusListIndex` stands for: a decimal string (I1).

    Raises BitstringError `MALFORMED_VALUE_ERROR`.
    """
    if not isinstance(text, str) or _INDEX.fullmatch(text) is None:
        raise BitstringError(
            "MALFORMED_VALUE_ERROR", "statusListIndex must be a decimal number in a string."
        )
    return int(text)


def bit(bits: bytes, position: int) -> bool:
    """Whether the bit at `position`, counted from the left, is set. Raises `RANGE_ERROR`."""
    if not 0 <= position < len(bits) * 8:
        raise BitstringError(
            "RANGE_ERROR", f"The status list has {len(bits) * 8} entries, none at this index."
        )
    return bool(bits[position >> 3] >> (7 - (position & 7)) & 1)


def _malformed(why: str) -> BitstringError:
    return BitstringError("MALFORMED_VALUE_ERROR", f"encodedList {why}.")
