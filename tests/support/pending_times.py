"""Times of claims, written into a stream as a later clock would have written them.

Redis takes no time to come from a client (XCLAIM TIME), so the dump of the stream is changed.
"""

from typing import Any

_POLYNOMIAL = 0x95AC9329AC4BC9B5


def shift_claims(raw: Any, stream: bytes, by_ms: int) -> int:
    """Add to the delivery time of every pending entry; answers of how many."""
    dump, count = bytearray(raw.dump(stream)[:-8]), 0
    for entry in raw.xpending_range(stream, "workers", "-", "+", 1_000):
        ms, _, seq = entry["message_id"].decode().partition("-")
        name = int(ms).to_bytes(8, "big") + int(seq).to_bytes(8, "big")
        at = _delivery(dump, name)
        delivered_ms = int.from_bytes(dump[at : at + 8], "little") + by_ms
        dump[at : at + 8] = delivered_ms.to_bytes(8, "little")
        count += 1
    raw.restore(stream, 0, bytes(dump) + _crc64(bytes(dump)).to_bytes(8, "little"), replace=True)
    return count


def _delivery(dump: bytearray, name: bytes) -> int:
    """Where the delivery time of an entry lies: behind the first mention of its id in the group."""
    at = dump.rindex(name)  # the last mention is the consumer's, which has no time
    return dump.rindex(name, 0, at) + len(name)


def _crc64(data: bytes) -> int:
    """The checksum at the end of a dump (CRC-64/REDIS)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    return crc
