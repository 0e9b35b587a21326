"""Whether the key that signed a token is the signer's own, for this purpose (F1-F5).

The chain never starts at the token's `kid`: it starts at the issuer or holder, goes through the DID
document to the keys listed for the purpose, and `kid` may only pick one of these.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey
from joserfc.jws import JWSRegistry

from credentials.datamodel import malformed
from credentials.document import Method, methods
from credentials.errors import DidError, RetrievalError
from credentials.statements import Kind, Statement
from credentials.token import Token
from credentials.verdict import CouldNotTell, Invalid


class Resolved(Protocol):
    """What resolving a DID gives."""

    @property
    def document(self) -> dict[str, Any]:
        """The DID document."""


Resolve = Callable[[str], Awaitable[Resolved]]
"""DID -> its document; raises DidError, with `transient` saying whether it may pass."""

Compute = Callable[..., Awaitable[Any]]
"""`await compute(function, *args)`: when it is this token's turn."""


async def at_once(function: Callable[..., Any], *args: Any) -> Any:
    """For who has nothing else to do."""
    return function(*args)


async def in_a_thread(function: Callable[..., Any], *args: Any) -> Any:
    """For what would hold the event loop too long."""
    return await asyncio.to_thread(function, *args)


RELATIONSHIP: dict[Kind, str] = {"credential": "assertionMethod", "presentation": "authentication"}
"""What the DID document must list the key for."""

COMPUTED = ("did:key:", "did:jwk:")
KNOWN_DIDS = 2_048

FEW_KEYS = 8
"""More are worked on in a thread: 200 of a stranger's document take half a second."""

_SIGNATURE_BYTES = {"EdDSA": 64, "Ed25519": 64, "ES256": 64, "ES384": 96, "ES256K": 64}
"""Length of a signature: R and S side by side, never DER (F5)."""


class Keys:
    """The keys that DIDs list. A did:key or did:jwk is its own document: what follows from one is
    kept; a did:web is asked about every time. `clock` is in seconds since 1970."""

    def __init__(self, resolve: Resolve, clock: Callable[[], float] = time.time) -> None:
        self.compute: Compute = at_once
        """Runs what takes a fraction of a millisecond."""
        self.compute_long: Compute = in_a_thread
        """Runs what takes up to a second."""
        self._resolve = resolve
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], Sequence[Method]] = OrderedDict()

    async def listed(self, did: str, relationship: str) -> Sequence[Method]:
        """The keys for a purpose that are not revoked or expired. Raises Invalid, CouldNotTell."""
        known = self._known.get((did, relationship))
        if known is None:
            known = await self._listed(did, relationship)
            if did.startswith(COMPUTED):
                self._known[did, relationship] = known
                if len(self._known) > KNOWN_DIDS:
                    self._known.popitem(last=False)
        now_s = self._clock()
        return [method for method in known if method.until_s is None or now_s < method.until_s]

    async def _listed(self, did: str, relationship: str) -> Sequence[Method]:
        try:
            document = (await self._resolve(did)).document
            entries = document.get(relationship)
            if isinstance(entries, list) and len(entries) > FEW_KEYS:
                found: Sequence[Method] = await self.compute_long(
                    methods, document, did, relationship
                )
                return found
            return methods(document, did, relationship)
        except DidError as error:
            if error.transient:
                after_s = error.after_s if isinstance(error, RetrievalError) else 0
                raise CouldNotTell("DID_RETRIEVAL_ERROR", str(error), after_s=after_s) from error
            raise Invalid(did_code(error.code), f"The signer's DID: {error}") from None


async def authenticate(token: Token, statement: Statement, keys: Keys) -> None:
    """Return when the statement's signer signed the token.

    Raises Invalid: ISSUER_KEY_MISMATCH, KEY_NOT_AUTHORIZED, ALGORITHM_NOT_ALLOWED,
    CRYPTOGRAPHIC_SECURITY_ERROR, MALFORMED_VALUE_ERROR, or a DID_... code; CouldNotTell
    DID_RETRIEVAL_ERROR.
    """
    named = _key_name(token, statement)
    relationship = RELATIONSHIP[statement.kind]
    listed = await keys.listed(statement.signer, relationship)
    candidates = [method for method in listed if named is None or method.id == named]
    if not candidates:
        what = "a key" if named is None else "this key"
        raise Invalid(
            "KEY_NOT_AUTHORIZED",
            f"The signer's DID document does not list {what} for {relationship}.",
        )
    fitting = [method for method in candidates if token.algorithm in method.algorithms]
    if not fitting:
        raise Invalid(
            "ALGORITHM_NOT_ALLOWED", f"The signer's key does not sign with {token.algorithm}."
        )
    compute = keys.compute if len(fitting) <= FEW_KEYS else keys.compute_long
    if not await compute(_fit, token, fitting):
        raise Invalid(
            "CRYPTOGRAPHIC_SECURITY_ERROR",
            "The signature does not fit the signer's key: the token was changed, or another key "
            "signed it.",
        )


def _key_name(token: Token, statement: Statement) -> str | None:
    """The absolute id of the key that `kid` picks; None: any of the signer's (B6)."""
    kid, signer = token.kid, statement.signer
    if statement.version == "2.0" and (kid is None or not kid.startswith("did:")):
        raise malformed("kid must be the absolute DID URL of the key (VC-JOSE-COSE 4.1).")
    if kid is None:
        return None
    if kid.startswith("did:"):
        if kid != signer and re.split("[#?/;]", kid, maxsplit=1)[0] != signer:
            raise Invalid(
                "ISSUER_KEY_MISMATCH", "kid names a key of another DID than the signer's."
            )
        return kid
    return f"{signer}#{kid.removeprefix('#')}"


def did_code(code: str) -> str:
    """A code of DID Resolution in our spelling: notFound is DID_NOT_FOUND, invalidDid
    INVALID_DID."""
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", code).upper()
    return spelled if re.search("DID|PUBLIC_KEY", spelled) else f"DID_{spelled}"


def _fit(token: Token, fitting: Sequence[Method]) -> bool:
    return any(_fits(token, method) for method in fitting)


def _fits(token: Token, method: Method) -> bool:
    if len(token.signature) != _SIGNATURE_BYTES[token.algorithm]:
        return False
    key = _public_key(tuple(sorted(method.jwk.items())))
    if key is None:
        return False
    return bool(
        JWSRegistry.algorithms[token.algorithm].verify(token.signing_input, token.signature, key)
    )


@lru_cache(maxsize=1024)
def _public_key(members: tuple[tuple[str, str], ...]) -> OKPKey | ECKey | None:
    jwk: dict[str, str | list[str]] = dict(members)
    try:
        return OKPKey.import_key(jwk) if jwk["kty"] == "OKP" else ECKey.import_key(jwk)
    except (JoseError, ValueError):
        return None
