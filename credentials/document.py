"""DID documents: which keys they name for what (F3), in every spelling that is in use (H4).

A document comes from whoever controls the DID, so a key counts only if the document says all of
it: the method is listed for the purpose, its controller is the DID itself, and it is a key of a
type that signs here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import base58

from credentials import did_key
from credentials.errors import CredentialError, DidError
from credentials.keys import PublicJwk, algorithms_of
from credentials.moments import date_time
from credentials.strict_json import NotJson, loads

MAX_BYTES: Final = 1_048_576
MAX_METHODS: Final = 200
MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000
"""Most objects and arrays in a document: a megabyte of brackets takes half a second to take in."""
MAX_KEY_CHARS: Final = 200
"""Longest part of a key that is read; base58 takes quadratic time. P-384 in hexadecimal has 98."""
_FRAGMENT = re.compile(r"#[A-Za-z0-9._~!$&'()*+,;=:@/?%-]+")
_JWK_TYPES: Final = frozenset(
    {"JsonWebKey", "JsonWebKey2020", "EcdsaSecp256k1VerificationKey2019"}
    | {"Ed25519VerificationKey2018", "Ed25519VerificationKey2020"}
)
_MULTIBASE_TYPES: Final = frozenset({"Multikey", "Ed25519VerificationKey2020"})
_BASE58_TYPES: Final[Mapping[str, bytes]] = {
    "Ed25519VerificationKey2018": b"\xed\x01",
    "EcdsaSecp256k1VerificationKey2019": b"\xe7\x01",
}
"""Type -> multicodec prefix of its `publicKeyBase58`."""
_CURVE_OF: Final[Mapping[str, str]] = {
    "Ed25519VerificationKey2018": "Ed25519",
    "Ed25519VerificationKey2020": "Ed25519",
    "EcdsaSecp256k1VerificationKey2019": "secp256k1",
}


@dataclass(frozen=True, slots=True)
class Method:
    """A verification method whose key can verify signatures."""

    id: str
    """Absolute."""
    type: str
    jwk: PublicJwk
    until_s: float | None = None
    """When it was revoked or expires, in seconds since 1970: from then on it verifies nothing."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The `alg` values its signatures may carry (F1)."""
        return algorithms_of(self.jwk)


def parse(body: bytes, did: str) -> dict[str, Any]:
    """The document in `body`, if it is one of `did`; a member named twice makes it none (F6).

    A megabyte takes some 20 ms. Raises DidError `invalidDidDocument`."""
    if len(body) > MAX_BYTES:
        raise _invalid(f"is longer than {MAX_BYTES} bytes")
    if body.count(b"[") + body.count(b"{") > MAX_NODES:
        raise _invalid(f"has more than {MAX_NODES} objects and arrays")
    try:
        document = loads(body, max_depth=MAX_DEPTH)
    except NotJson as error:
        raise _invalid(str(error)) from None
    return check(document, did)


def check(document: Any, did: str) -> dict[str, Any]:
    """`document`, if it is an object whose id is `did` (H1). Raises DidError."""
    if not isinstance(document, dict):
        raise _invalid("is not a JSON object")
    if _is_deeper(document, MAX_DEPTH):
        raise _invalid(f"is nested deeper than {MAX_DEPTH} levels")
    if document.get("id") != did:
        raise _invalid("is about another DID: its id is not the DID that was asked for")
    return document


def methods(
    document: Mapping[str, Any], did: str, relationship: str = "assertionMethod"
) -> tuple[Method, ...]:
    """The methods with which `did` itself signs for this purpose, in the document's order.

    Relative ids are resolved against the DID. What is malformed, controlled by somebody else or
    of a type or curve that does not sign here is left out: no key follows from it. Raises DidError
    `invalidDidDocument` when an id names two different methods, for nobody could say which.
    """
    entries = document.get(relationship)
    if not isinstance(entries, list):
        return ()
    known = _by_id(document, did)
    found: dict[str, Method] = {}
    for entry in entries[:MAX_METHODS]:
        embedded = entry if isinstance(entry, dict) else None
        key_id = _absolute(embedded.get("id") if embedded else entry, did)
        raw = embedded or known.get(key_id or "")
        method = _method(key_id, raw, did) if key_id and raw else None
        if method is not None:
            found.setdefault(method.id, method)
    return tuple(found.values())


def part(document: Mapping[str, Any], did: str, fragment: str) -> dict[str, Any] | None:
    """The key or service of `document` whose id is the DID and `fragment`, which begins with #."""
    services = document.get("service")
    named = [*_all(document), *(services if isinstance(services, list) else [])]
    for one in named:
        if isinstance(one, dict) and _absolute(one.get("id"), did) == did + fragment:
            return one
    return None


def _by_id(document: Mapping[str, Any], did: str) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    for raw in _all(document):
        key_id = _absolute(raw.get("id"), did)
        if key_id is not None and known.setdefault(key_id, raw) != raw:
            raise _invalid("names two different keys with one id")
    return known


def _all(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every method of a document, also those that stand in a relationship itself."""
    for member in ("verificationMethod", *did_key.SIGNING, "keyAgreement"):
        entries = document.get(member)
        if isinstance(entries, list):
            yield from (raw for raw in entries[:MAX_METHODS] if isinstance(raw, dict))


def _absolute(key_id: Any, did: str) -> str | None:
    """The absolute DID URL of a key of `did`; None for everything else."""
    if not isinstance(key_id, str):
        return None
    fragment = key_id.removeprefix(did)
    return f"{did}{fragment}" if _FRAGMENT.fullmatch(fragment) else None


def _method(key_id: str, raw: Mapping[str, Any], did: str) -> Method | None:
    kind = raw.get("type")
    if raw.get("controller") != did or not isinstance(kind, str):
        return None
    try:
        jwk, until_s = _key(kind, raw), _until_s(raw)
    except (CredentialError, ValueError):
        return None
    if jwk is None or not algorithms_of(jwk) or jwk["crv"] != _CURVE_OF.get(kind, jwk["crv"]):
        return None
    return Method(key_id, kind, jwk, until_s)


def _until_s(raw: Mapping[str, Any]) -> float | None:
    """The earlier one of `revoked` and `expires` (Controlled Identifiers 1.0, 2.2). Raises
    CredentialError for what is no date."""
    ends = [date_time(name, raw[name]) for name in ("revoked", "expires") if name in raw]
    return min(ends, default=None)


def _key(kind: str, raw: Mapping[str, Any]) -> PublicJwk | None:
    """The key in a method. Raises DidError or ValueError for what is none."""
    jwk, multibase = raw.get("publicKeyJwk"), raw.get("publicKeyMultibase")
    encoded, hexadecimal = raw.get("publicKeyBase58"), raw.get("publicKeyHex")
    if any(isinstance(text, str) and len(text) > MAX_KEY_CHARS for text in (encoded, hexadecimal)):
        return None
    if kind in _JWK_TYPES and isinstance(jwk, dict):
        return _from_jwk(jwk)
    if kind in _MULTIBASE_TYPES and isinstance(multibase, str):
        return did_key.decode(f"did:key:{multibase}")
    if kind in _BASE58_TYPES and isinstance(encoded, str):
        return _from_bytes(_BASE58_TYPES[kind] + base58.b58decode(encoded))
    if kind == "EcdsaSecp256k1VerificationKey2019" and isinstance(hexadecimal, str):
        return _from_bytes(_BASE58_TYPES[kind] + bytes.fromhex(hexadecimal))
    return None


def _from_bytes(multicodec: bytes) -> PublicJwk:
    return did_key.decode(f"did:key:z{base58.b58encode(multicodec).decode()}")


def _from_jwk(jwk: Mapping[str, Any]) -> PublicJwk | None:
    """A public JWK meant for signatures, reduced to what makes the key, or None."""
    # A private key that lies open proves nothing about who signed with it.
    if "d" in jwk or jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    members = {name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk}
    if not all(isinstance(text, str) and len(text) <= MAX_KEY_CHARS for text in members.values()):
        return None
    if not algorithms_of(members):
        return None
    if jwk.get("alg", algorithms_of(members)[0]) not in algorithms_of(members):
        return None
    return did_key.decode(did_key.encode(members))


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _invalid(what: str) -> DidError:
    return DidError("invalidDidDocument", f"The DID document {what}.")
