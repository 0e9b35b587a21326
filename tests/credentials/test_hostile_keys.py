"""Public keys that are none, or that are spelled in a way no issuer writes them.

Points of small order are computed here from the curve's equation (RFC 8032, 5.1), not taken from
the product.
"""

from base64 import urlsafe_b64decode
from typing import Any

import base58
import pytest
from judging import Bench
from minting import NOW, Issuer, Key, b64, compact, dumps

from credentials import did_jwk, did_key
from credentials.document import methods
from credentials.errors import DidError

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(one: Point, two: Point) -> Point:
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(factor: int, point: Point) -> Point:
    total = (0, 1)
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def point_of(y: int) -> Point | None:
    """A point with this y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


def torsion() -> list[Point]:
    """The eight points whose order divides 8."""
    order = 2**252 + 27742317777372353535851937790883648493
    for y in range(2, 100):
        point = point_of(y)
        if point is not None:
            found = times(order, point)
            if times(4, found) != (0, 1):
                return [times(n, found) for n in range(8)]
    raise AssertionError


def encoded(point: Point) -> bytes:
    x, y = point
    return (y | (x & 1) << 255).to_bytes(32, "little")


SMALL = torsion()
# Every other spelling that fits into 255 bits and a sign.
NON_CANONICAL = [
    (y + shift | sign << 255).to_bytes(32, "little")
    for y in range(19)
    for shift in (P,)
    for sign in (0, 1)
] + [(1 | 1 << 255).to_bytes(32, "little"), (P - 1 | 1 << 255).to_bytes(32, "little")]


def test_there_are_eight() -> None:
    assert len(set(SMALL)) == 8
    assert all(times(8, point) == (0, 1) for point in SMALL)


@pytest.mark.parametrize(
    "raw", [*map(encoded, SMALL), *NON_CANONICAL], ids=lambda raw: raw.hex()[:8] + raw.hex()[-2:]
)
async def test_ed25519_points_that_are_no_keys(raw: bytes) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    did = f"did:jwk:{b64(dumps(jwk))}"
    multibase = "z" + base58.b58encode(b"\xed\x01" + raw).decode()
    for refuse in (
        lambda: did_key.decode(f"did:key:{multibase}"),
        lambda: did_key.encode(jwk),
        lambda: did_jwk.document(did),
    ):
        with pytest.raises(DidError) as refusal:
            refuse()
        assert refusal.value.code == "invalidPublicKey"
    # Signatures that fit such keys for a part of all messages: R of small order, S = 0.
    header = {"alg": "EdDSA", "typ": "vc+jwt", "kid": f"{did}#0"}
    unsigned = compact(header, Issuer().credential(issuer=did))
    for point in SMALL:
        token = unsigned + b64(encoded(point) + bytes(32))
        assert await Bench().code(token) == "INVALID_PUBLIC_KEY"
    web = Issuer(did="did:web:issuer.example", kid="did:web:issuer.example#1")
    for spelled in (
        {"type": "JsonWebKey2020", "publicKeyJwk": jwk},
        {"type": "Multikey", "publicKeyMultibase": multibase},
        {"type": "Ed25519VerificationKey2020", "publicKeyMultibase": multibase},
        {"type": "Ed25519VerificationKey2018", "publicKeyBase58": base58.b58encode(raw).decode()},
    ):
        method = {"id": web.kid, "controller": web.did, **spelled}
        assert methods(web.document(verificationMethod=[method]), web.did) == ()


SIZES = {"P-256": 32, "P-384": 48, "secp256k1": 32}


def coordinate(key: Key, name: str) -> bytes:
    text = key.jwk[name]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def spare_bits(text: str) -> str:
    """Another spelling of the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def changes(key: Key) -> dict[str, dict[str, Any]]:
    x, y = coordinate(key, "x"), coordinate(key, "y")
    found: dict[str, dict[str, Any]] = {
        "x padded": {"x": b64(b"\0" + x)},
        "y padded": {"y": b64(b"\0" + y)},
        "both padded": {"x": b64(b"\0" + x), "y": b64(b"\0" + y)},
        "x padded far": {"x": b64(bytes(33) + x)},
        "x cut": {"x": b64(x[:-1])},
        "x cut in front": {"x": b64(x[1:])},
        "x empty": {"x": ""},
        "x zero": {"x": b64(bytes(len(x))), "y": b64(bytes(len(x)))},
        "x ones": {"x": b64(b"\xff" * len(x))},
        "off the curve": {"y": b64((int.from_bytes(y, "big") ^ 1).to_bytes(len(y), "big"))},
        "swapped": {"x": key.jwk["y"], "y": key.jwk["x"]},
        "x with padding": {"x": key.jwk["x"] + "="},
        "x standard base64": {"x": key.jwk["x"][:-2] + "+/"},
        "x not text": {"x": 5},
        "x list": {"x": [key.jwk["x"]]},
        "x null": {"x": None},
        "no y": {"y": ...},
        "y compressed": {"y": b64(b"\2")},
        "another curve": {"crv": "P-256" if key.curve != "P-256" else "secp256k1"},
        "curve of no key": {"crv": "P-192"},
        "type of no key": {"kty": "OKP"},
        "lower-case curve": {"crv": key.curve.lower() + " "},
    }
    if len(x) % 3:
        found["x with spare bits"] = {"x": spare_bits(key.jwk["x"])}
    return found


CASES = [(curve, name) for curve in SIZES for name in changes(Key(curve))]


@pytest.mark.parametrize(("curve", "name"), CASES)
async def test_ec_keys_that_are_spelled_otherwise(curve: str, name: str) -> None:
    key = Key(curve)
    jwk = {**key.jwk, **changes(key)[name]}
    jwk = {member: value for member, value in jwk.items() if value is not ...}
    did = f"did:jwk:{b64(dumps(jwk))}"
    with pytest.raises(DidError) as refusal:
        did_jwk.document(did)
    lengths = {"x padded", "y padded", "both padded", "x padded far", "x cut", "x cut in front"}
    if name in lengths:
        assert refusal.value.code == "invalidPublicKeyLength"
    issuer = Issuer(key, did, f"{did}#0")
    assert (await Bench().code(issuer.v20())).endswith(
        ("PUBLIC_KEY", "PUBLIC_KEY_LENGTH", "PUBLIC_KEY_TYPE", "INVALID_DID", "NOT_AUTHORIZED")
    )
    web = Issuer(key, "did:web:issuer.example", "did:web:issuer.example#1")
    method = {"id": web.kid, "type": "JsonWebKey", "controller": web.did, "publicKeyJwk": jwk}
    bench = Bench(documents={web.did: web.document(verificationMethod=[method])})
    assert await bench.code(web.v20()) == "KEY_NOT_AUTHORIZED"


@pytest.mark.parametrize("curve", SIZES)
async def test_coordinates_that_begin_with_zeros_are_written_in_full(curve: str) -> None:
    while True:
        key = Key(curve)
        if coordinate(key, "x")[0] == 0:
            break
    await Bench().valid(Issuer(key).v20())
    short = {**key.jwk, "x": b64(coordinate(key, "x")[1:])}
    with pytest.raises(DidError):
        did_jwk.document(f"did:jwk:{b64(dumps(short))}")


def test_ed25519_keys_with_spare_bits() -> None:
    jwk = {**Key().jwk}
    jwk["x"] = spare_bits(jwk["x"])
    with pytest.raises(DidError):
        did_jwk.document(f"did:jwk:{b64(dumps(jwk))}")


@pytest.mark.parametrize("n", [b64(b"\0" + b"\xff" * 256), "AQ", "", "!", b64(bytes(256))])
def test_rsa_keys_that_are_spelled_otherwise(n: str) -> None:
    with pytest.raises(DidError):
        did_key.encode({"kty": "RSA", "n": n, "e": "AQAB"})
    with pytest.raises(DidError):
        did_key.encode({"kty": "RSA", "n": b64(b"\xff" * 256), "e": b64(b"\0\1\0\1")})


CONTENT_TYPES = {
    "credential": ["vc", "VC", "application/vc", "json", "application/json", ...],
    "presentation": ["vp", "Application/VP", "json", ...],
}
REFUSED_TYPES = [
    *("JWT", "jwt", "application/jwt", "vc+jwt", "vp+jwt", "dc+sd-jwt", "text/plain", ""),
    *("vc ", " vc", "vc;a=b", "vc+json", "x" * 5_000, "application/application/vc"),
]


@pytest.mark.parametrize("model", ["v20", "v11"])
async def test_content_types(model: str) -> None:
    make = getattr(Issuer(), model)
    for content_type in CONTENT_TYPES["credential"]:
        await Bench().valid(make({"cty": content_type}))
    for content_type in [*REFUSED_TYPES, "vp"]:
        assert await Bench().code(make({"cty": content_type})) == "TYPE_NOT_ACCEPTED"
    for wrong in (5, None, ["vc"], {}, True):
        assert await Bench().code(make({"cty": wrong})) == "MALFORMED_VALUE_ERROR"


async def test_content_types_of_presentations() -> None:
    holder = Issuer()
    body = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiablePresentation"],
    }
    body |= {"holder": holder.did, "iat": NOW}

    def make(content_type: Any) -> str:
        header = {"alg": "EdDSA", "typ": "vp+jwt", "kid": holder.kid}
        header |= {} if content_type is ... else {"cty": content_type}
        return compact(header, body, holder.key)

    for content_type in CONTENT_TYPES["presentation"]:
        await Bench().valid(make(content_type), kind="presentation")
    for content_type in [*REFUSED_TYPES, "vc"]:
        assert await Bench().code(make(content_type), kind="presentation") == "TYPE_NOT_ACCEPTED"
