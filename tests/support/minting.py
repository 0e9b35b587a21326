"""Tokens made by hand, right ones and wrong ones. Shares nothing with the product: base64, JSON and
`cryptography`."""

import base64
import gzip
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NOW = 1_800_000_000
"""The clock of the tests: 2027-01-15T08:00:00Z."""
V1 = "https://www.w3.org/2018/credentials/v1"
V2 = "https://www.w3.org/ns/credentials/v2"
SUBJECT = "did:example:subject"

_CURVES: dict[str, tuple[str, Any, Any, int]] = {
    "P-256": ("ES256", ec.SECP256R1(), hashes.SHA256(), 32),
    "P-384": ("ES384", ec.SECP384R1(), hashes.SHA384(), 48),
    "secp256k1": ("ES256K", ec.SECP256K1(), hashes.SHA256(), 32),
}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass
class Key:
    """A key pair of one of the four types."""

    curve: str = "Ed25519"
    private: Any = None
    jwk: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.curve == "Ed25519":
            self.private = ed25519.Ed25519PrivateKey.generate()
            raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
            return
        _, curve, _, size = _CURVES[self.curve]
        self.private = ec.generate_private_key(curve)
        numbers = self.private.public_key().public_numbers()
        x, y = (b64(n.to_bytes(size, "big")) for n in (numbers.x, numbers.y))
        self.jwk = {"kty": "EC", "crv": self.curve, "x": x, "y": y}

    @property
    def alg(self) -> str:
        return "EdDSA" if self.curve == "Ed25519" else _CURVES[self.curve][0]

    def sign(self, message: bytes, *, der: bool = False) -> bytes:
        if self.curve == "Ed25519":
            return bytes(self.private.sign(message))
        _, _, digest, size = _CURVES[self.curve]
        encoded = self.private.sign(message, ec.ECDSA(digest))
        if der:
            return bytes(encoded)
        r, s = decode_dss_signature(encoded)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def compact(header: Any, payload: Any, key: Key | None = None) -> str:
    """A compact JWS; bytes are taken as they are, everything else becomes JSON."""
    head, body = (
        b64(part if isinstance(part, bytes) else dumps(part)) for part in (header, payload)
    )
    signature = key.sign(f"{head}.{body}".encode()) if key else b""
    return f"{head}.{body}.{b64(signature)}"


def changed(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`value` with members replaced; `...` takes one out."""
    merged = {**value, **changes}
    return {name: member for name, member in merged.items() if member is not ...}


@dataclass
class Issuer:
    """A did:jwk, or any other DID together with the document that `document` makes."""

    key: Key = field(default_factory=Key)
    did: str = ""
    kid: str = ""

    def __post_init__(self) -> None:
        self.did = self.did or f"did:jwk:{b64(dumps(self.key.jwk))}"
        self.kid = self.kid or f"{self.did}#0"

    def document(self, **changes: Any) -> dict[str, Any]:
        method = {
            "id": self.kid,
            "type": "JsonWebKey2020",
            "controller": self.did,
            "publicKeyJwk": self.key.jwk,
        }
        document = {
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": self.did,
            "verificationMethod": [method],
            "assertionMethod": [self.kid],
            "authentication": [self.kid],
        }
        return changed(document, changes)

    def credential(self, **changes: Any) -> dict[str, Any]:
        """The payload of a conformant 2.0 token."""
        body = {
            "@context": [V2],
            "id": "urn:uuid:6f0f4f63-2c39-4d2b-9c0e-6c1f1d0a7c55",
            "type": ["VerifiableCredential"],
            "issuer": self.did,
            "validFrom": "2027-01-01T00:00:00Z",
            "credentialSubject": {"id": SUBJECT, "degree": "Bachelor"},
        }
        return changed(body, changes)

    def v20(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        """A 2.0 token; `header` and members are changed as told."""
        head = {"alg": self.key.alg, "typ": "vc+jwt", "kid": self.kid}
        return compact(changed(head, header or {}), self.credential(**changes), self.key)

    def vc(self, **changes: Any) -> dict[str, Any]:
        """The `vc` of a conformant 1.1 token."""
        body = {
            "@context": [V1],
            "type": ["VerifiableCredential"],
            "credentialSubject": {"degree": "Bachelor"},
        }
        return changed(body, changes)

    def v11(
        self,
        header: dict[str, Any] | None = None,
        vc: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A 1.1 token; `vc` are changes to that member."""
        head = {"alg": self.key.alg, "typ": "JWT"}
        payload = {
            "iss": self.did,
            "sub": SUBJECT,
            "nbf": NOW - 1000,
            "vc": self.vc(**(vc or {})),
        }
        return compact(changed(head, header or {}), changed(payload, changes), self.key)

    def status_list(self, url: str, *indexes: int, **changes: Any) -> str:
        """A status list as a 2.0 token; `changes` are members of its subject."""
        subject = {
            "type": "BitstringStatusList",
            "statusPurpose": "revocation",
            "encodedList": encoded_list(*indexes),
        }
        return self.v20(
            type=["VerifiableCredential", "BitstringStatusListCredential"],
            id=url,
            credentialSubject=changed(subject, changes),
        )


def encoded_list(*indexes: int, bits: int = 131_072) -> str:
    raw = bytearray(bits // 8)
    for index in indexes:
        raw[index // 8] |= 1 << (7 - index % 8)
    return "u" + b64(gzip.compress(bytes(raw)))


def entry(url: str, index: Any = "5", **changes: Any) -> dict[str, Any]:
    """A credentialStatus."""
    body = {
        "id": f"{url}#{index}",
        "type": "BitstringStatusListEntry",
        "statusPurpose": "revocation",
        "statusListIndex": index,
        "statusListCredential": url,
    }
    return changed(body, changes)


def envelope(token: str, kind: str = "credential", **changes: Any) -> dict[str, Any]:
    """A token in the data: URL of an enveloped credential or presentation."""
    media = {"credential": "vc", "presentation": "vp"}[kind]
    body = {
        "@context": [V2],
        "type": f"EnvelopedVerifiable{kind.capitalize()}",
        "id": f"data:application/{media}+jwt,{token}",
    }
    return changed(body, changes)
