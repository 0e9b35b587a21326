"""Tokens that are none: refused before anything is believed, whatever they are (C7, C8, F4-F7)."""

import asyncio
import base64
import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judging import Bench
from minting import Issuer, b64, compact, dumps

from credentials.strict_json import NotJson, loads
from credentials.token import parse
from credentials.verdict import Invalid

ISSUER = Issuer()
GOOD = ISSUER.v20()
HEAD, BODY, SIGNATURE = GOOD.split(".")


def raw(payload: bytes) -> str:
    """A well-signed token with any bytes as its payload."""
    header = {"alg": "EdDSA", "typ": "vc+jwt", "kid": ISSUER.kid}
    return compact(header, payload, ISSUER.key)


def nested(depth: int) -> bytes:
    # Two objects are around it already.
    deep = "[" * (depth - 2) + "]" * (depth - 2)
    body = dumps(ISSUER.credential()).decode()
    return body.replace('"Bachelor"', deep).encode()


def member(text: str) -> bytes:
    return dumps(ISSUER.credential()).replace(b'"Bachelor"', text.encode())


async def test_the_token_that_the_others_are_changed_from_is_valid() -> None:
    verdict = await Bench().valid(GOOD)
    assert verdict.result() == {
        "valid": True,
        "issuer": ISSUER.did,
        "subject": "did:example:subject",
        "claims": {"degree": "Bachelor"},
    }


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "not a token",
        f"{HEAD}.{BODY}",
        f"{GOOD}.",
        f"{GOOD}.{SIGNATURE}",
        f"{GOOD}.{SIGNATURE}.{SIGNATURE}",
        f"{GOOD}~",
        f"{GOOD}~~",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{HEAD}.{BODY} .{SIGNATURE}",
        f"{HEAD}\n.{BODY}.{SIGNATURE}",
        f"{HEAD}=.{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}.{SIGNATURE}==",
        f"{HEAD}.{BODY}.{SIGNATURE[:-1]}+",
        f"{HEAD}.{BODY}.{SIGNATURE}é",
        f"{HEAD}.{BODY}.{SIGNATURE[:-1]}B",  # the last bits of the last character are not used
        f"{HEAD}..{SIGNATURE}",
        f".{BODY}.{SIGNATURE}",
        json.dumps({"payload": BODY, "protected": HEAD, "signature": SIGNATURE}) + "x",
        f"{b64(b'[]')}.{BODY}.{SIGNATURE}",
        f"{b64(b'nope')}.{BODY}.{SIGNATURE}",
        f"{b64(bytes([0xFF, 0xFE]))}.{BODY}.{SIGNATURE}",
        "\ud800.\ud800.\ud800",
    ],
)
async def test_what_is_not_three_parts_of_base64url_with_json_objects(token: str) -> None:
    assert await Bench().code(token) == "PARSING_ERROR"


async def test_json_serialization_is_refused() -> None:
    flat = {"payload": BODY, "protected": HEAD, "signature": SIGNATURE}
    assert await Bench().code(json.dumps(flat)) == "MALFORMED_VALUE_ERROR"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{} {}",
        member("NaN"),
        member("Infinity"),
        member("-Infinity"),
        member("1e400"),
        member("-1e400"),
        member("9" * 5_000),
        member(str(2**64)),
        member('"\\ud800"'),
        member('"\x00"'),
        dumps(ISSUER.credential()).replace(b'"issuer"', b'"issuer":"did:example:x","issuer"'),
        b"\xef\xbb\xbf" + dumps(ISSUER.credential()),
        dumps(ISSUER.credential()).decode().encode("utf-16"),
        member('"\xff"').decode("utf-8").encode("latin-1"),
        nested(65),
        b"[" * 100_000,
        b'{"a":' * 30_000,
        b'{"a":"' + b'\\"' * 50_000 + b"[" * 100,
    ],
)
async def test_json_that_hides_something_or_breaks_parsers(payload: bytes) -> None:
    assert await Bench().code(raw(payload)) == "PARSING_ERROR"


async def test_a_header_named_twice_is_refused_like_a_payload() -> None:
    header = b'{"alg":"EdDSA","alg":"EdDSA","typ":"vc+jwt","kid":"' + ISSUER.kid.encode() + b'"}'
    token = compact(header, ISSUER.credential(), ISSUER.key)
    assert await Bench().code(token) == "PARSING_ERROR"


async def test_the_limits_themselves_are_accepted() -> None:
    await Bench().valid(raw(nested(64)))
    await Bench().valid(raw(member(str(2**64 - 1))))
    await Bench().valid(raw(member('"[[[[{{{{' + "[" * 500 + '\\"[[["')))
    assert loads(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


async def test_size_comes_before_everything() -> None:
    assert await Bench().code("." * (256 * 1024 + 1)) == "TOKEN_TOO_LARGE"
    assert await Bench().code("{" * (256 * 1024 + 1)) == "TOKEN_TOO_LARGE"
    filler = "x" * (256 * 1024 - 500)
    large = raw(member(json.dumps(filler[: len(filler) * 3 // 4 - 500])))
    assert 200 * 1024 < len(large) <= 256 * 1024
    await Bench().valid(large)
    header = {"alg": "EdDSA", "typ": "vc+jwt", "kid": ISSUER.kid, "x": "y" * 20_000}
    assert await Bench().code(compact(header, ISSUER.credential(), ISSUER.key)) == "TOKEN_TOO_LARGE"


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "NONE", "nOnE", "HS256", "RS256", "PS256", "ES512", "ES256K-R", "Ed448",
     "", None, 1, ["EdDSA"], {}, True, ...],
)  # fmt: skip
async def test_algorithms_that_no_key_here_signs_with(algorithm: object) -> None:
    assert await Bench().code(ISSUER.v20({"alg": algorithm})) == "ALGORITHM_NOT_ALLOWED"


async def test_none_without_a_signature() -> None:
    header = {"alg": "none", "typ": "vc+jwt", "kid": ISSUER.kid}
    assert await Bench().code(compact(header, ISSUER.credential())) == "ALGORITHM_NOT_ALLOWED"
    header["alg"] = "EdDSA"
    unsigned = compact(header, ISSUER.credential())
    assert await Bench().code(unsigned) == "CRYPTOGRAPHIC_SECURITY_ERROR"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"crit": []},
        {"crit": None},
        {"b64": False},
        {"b64": "true"},
    ],
)
async def test_extensions_that_would_have_to_be_understood(header: dict[str, object]) -> None:
    assert await Bench().code(ISSUER.v20(header)) == "CRITICAL_HEADER_NOT_SUPPORTED"


async def test_other_members_are_ignored() -> None:
    await Bench().valid(ISSUER.v20({"b64": True, "x5t": "abc", "unknown": {"a": [1]}}, other=1))


@pytest.mark.parametrize("header", [{"kid": 5}, {"typ": 5}, {"kid": None}, {"typ": ["vc+jwt"]}])
async def test_header_members_of_a_wrong_type(header: dict[str, object]) -> None:
    assert await Bench().code(ISSUER.v20(header)) == "MALFORMED_VALUE_ERROR"


PARTS = st.one_of(
    st.text(string.ascii_letters + string.digits + "-_=.~ ", max_size=60),
    st.binary(max_size=60).map(b64),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ).map(lambda value: b64(json.dumps(value).encode())),
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.sampled_from(["EdDSA", "ES256", "none"])},
    optional={
        "typ": st.sampled_from(["vc+jwt", "JWT", "vp+jwt", "x"]) | st.integers(),
        "kid": st.text() | st.just(ISSUER.kid),
        "crit": st.lists(st.text()),
    },
).map(lambda header: b64(json.dumps(header).encode()))
MEMBERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
NAMES = sorted(
    {*ISSUER.credential(), "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "vc", "vp"}
    | {"credentialStatus", "credentialSchema", "evidence", "name", "relatedResource", "holder"}
    | {"verifiableCredential", "validUntil"}
)
CALM = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@CALM
@given(st.lists(HEADERS | PARTS, max_size=5).map(".".join) | st.text(max_size=200))
def test_no_text_whatever_gets_another_answer_than_a_verdict(token: str) -> None:
    for kind in ("credential", "presentation"):
        assert not asyncio.run(Bench().judge(token, kind=kind)).valid


@CALM
@given(st.sampled_from(["vc+jwt", "JWT", "vp+jwt", None]), st.sampled_from(NAMES), MEMBERS)
def test_no_member_whatever_gets_another_answer_than_a_verdict(
    typ: str | None, name: str, value: object
) -> None:
    token = ISSUER.v20({"typ": typ} if typ else {"typ": ...}, **{name: value})
    old = ISSUER.v11(vc={name: value})
    for kind in ("credential", "presentation"):
        for text in (token, old):
            assert isinstance(asyncio.run(Bench().judge(text, kind=kind)).valid, bool)


@CALM
@given(st.binary(max_size=300))
def test_json_is_read_or_refused_in_words(data: bytes) -> None:
    try:
        json.dumps(loads(data), ensure_ascii=False, allow_nan=False).encode()
    except NotJson as error:
        assert str(error)


def test_the_signed_bytes_are_the_ones_that_came() -> None:
    token = parse(GOOD)
    assert token.signing_input == f"{HEAD}.{BODY}".encode()
    assert token.signature == base64.urlsafe_b64decode(SIGNATURE + "==")
    with pytest.raises(Invalid, match="longer than 10"):
        parse(GOOD, max_chars=10)
