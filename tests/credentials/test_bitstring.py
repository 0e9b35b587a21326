"""Status lists as bits: the vectors, both ways, and everything that must not pass (I1, I2, I6)."""

import base64
import gzip
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials import bitstring
from credentials.bitstring import MIN_BITS, BitstringError

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "bitstring_status_list.json").read_text()
)


def packed(data: bytes) -> str:
    return "u" + base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def expected(vector: dict[str, Any]) -> set[int]:
    if vector.get("set_rule") == "even indexes":
        return set(range(0, vector["length"], 2))
    return set(vector["set"])


def bits_of(indexes: set[int], length: int = MIN_BITS) -> bytes:
    number = bytearray(length // 8)
    for index in indexes:
        number[index // 8] |= 128 >> index % 8
    return bytes(number)


def refused(encoded: str, **limits: int) -> str:
    with pytest.raises(BitstringError) as caught:
        bitstring.decode(encoded, **limits)
    return caught.value.code


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["encodedList"][-8:])
def test_a_vector_has_exactly_the_bits_it_names(vector: dict[str, Any]) -> None:
    bits = bitstring.decode(vector["encodedList"])
    assert len(bits) * 8 == vector["length"]
    found = {index for index in range(vector["length"]) if bitstring.bit(bits, index)}
    assert found == expected(vector)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["encodedList"][-8:])
def test_the_same_bits_are_packed_into_a_list_that_others_read(vector: dict[str, Any]) -> None:
    bits = bits_of(expected(vector))
    encoded = bitstring.encode(bits)
    assert encoded[0] == "u"
    assert "=" not in encoded
    raw = base64.urlsafe_b64decode(encoded[1:] + "=" * (-(len(encoded) - 1) % 4))
    assert gzip.decompress(raw) == bits
    assert bitstring.encode(bits) == encoded


HOSTILE = {vector["why"]: vector for vector in VECTORS["hostile"]}


@pytest.mark.parametrize("why", ["legacy StatusList2021: no multibase prefix", "padding"])
def test_a_hostile_vector_is_refused(why: str) -> None:
    assert refused(HOSTILE[why]["encodedList"]) == "MALFORMED_VALUE_ERROR"


def test_bytes_after_the_gzip_member_are_refused() -> None:
    # The vector of this name is a whole member with nothing behind it, so the bytes are added.
    encoded = HOSTILE["trailing garbage after the gzip member"]["encodedList"]
    assert bitstring.decode(encoded) == bits_of({3})
    whole = base64.urlsafe_b64decode(encoded[1:] + "=" * (-(len(encoded) - 1) % 4))
    for garbage in (b"\0", b"garbage"):
        assert refused(packed(whole + garbage)) == "MALFORMED_VALUE_ERROR"


def test_a_bomb_is_never_unpacked() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    mebibyte = bytes(2**20)
    bomb = b"".join([*(packer.compress(mebibyte) for _ in range(1_024)), packer.flush()])
    assert len(bomb) < 2**21
    encoded = packed(bomb)
    tracemalloc.start()
    try:
        assert refused(encoded, max_bytes=2**20) == "STATUS_LIST_LENGTH_ERROR"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**23


def test_a_list_of_exactly_the_limit_is_read() -> None:
    encoded = packed(gzip.compress(bytes(20_000)))
    assert len(bitstring.decode(encoded, max_bytes=20_000)) == 20_000
    assert refused(encoded, max_bytes=19_999) == "STATUS_LIST_LENGTH_ERROR"


WHOLE = gzip.compress(bytes(16_384))


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "u",
        packed(WHOLE)[:-1] + "+",
        packed(WHOLE)[:-1] + "/",
        packed(WHOLE) + "\n",
        packed(WHOLE)[:20] + " " + packed(WHOLE)[20:],
        "z" + packed(WHOLE)[1:],
        "U" + packed(WHOLE)[1:],
        packed(WHOLE[:-9]),
        packed(WHOLE[:-1]),
        packed(WHOLE + WHOLE),
        packed(WHOLE[:-8] + b"\0" * 4 + WHOLE[-4:]),
        packed(bytes(16_384)),
        "u" + "A" * 5,
        "u\u00e9",
    ],
    ids=lambda _: "list",  # what gzip writes depends on the hour
)
def test_what_is_not_one_whole_gzip_member_in_base64url_is_malformed(encoded: str) -> None:
    assert refused(encoded) == "MALFORMED_VALUE_ERROR"


def test_a_list_below_the_least_length_is_refused_and_one_at_it_is_not() -> None:
    assert refused(packed(gzip.compress(bytes(16_383)))) == "STATUS_LIST_LENGTH_ERROR"
    assert len(bitstring.decode(packed(WHOLE))) == 16_384


def test_short_bits_are_filled_up_with_zeros() -> None:
    bits = bitstring.decode(bitstring.encode(b"\x80"))
    assert len(bits) * 8 == MIN_BITS
    assert bitstring.bit(bits, 0)
    assert not any(bits[1:])


def test_an_index_outside_the_list_is_out_of_range() -> None:
    for position in (-1, 16, 10**9):
        with pytest.raises(BitstringError) as caught:
            bitstring.bit(b"\xff\xff", position)
        assert caught.value.code == "RANGE_ERROR"


@pytest.mark.parametrize("text", ["0", "7", "94567", "9007199254740991"])
def test_a_decimal_string_is_an_index(text: str) -> None:
    assert bitstring.index(text) == int(text)


@pytest.mark.parametrize(
    "value",
    [94567, None, True, "", "-1", "+1", "01", "1.0", "1e3", "0x1", " 1", "1\n", "٣"],
)
def test_anything_else_is_not(value: object) -> None:
    with pytest.raises(BitstringError) as caught:
        bitstring.index(value)
    assert caught.value.code == "MALFORMED_VALUE_ERROR"


@given(st.sets(st.integers(0, MIN_BITS - 1), max_size=300))
def test_packing_and_reading_are_inverse(indexes: set[int]) -> None:
    bits = bits_of(indexes)
    assert bitstring.decode(bitstring.encode(bits)) == bits
    assert all(bitstring.bit(bits, index) for index in indexes)
