"""VC-JOSE-COSE: the payload is the credential or presentation of data model 2.0 (C1-C4, D1)."""

from credentials.datamodel import (
    Json,
    check_credential,
    check_frame,
    entries,
    issuer_of,
    malformed,
)
from credentials.envelopes import unwrap
from credentials.moments import Window, signature_window
from credentials.statements import MAX_ENCLOSED, Statement, audience, conflict, text_claim

_REGISTERED = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
"""Claims of RFC 7519: they speak about the token and are no part of the credential."""


def credential(payload: Json) -> Statement:
    """The credential that a payload is.

    Raises Invalid MALFORMED_VALUE_ERROR, CLAIM_CONFLICT.
    """
    document = _document(payload)
    window = check_credential(document, "2.0")
    issuer = issuer_of(document)
    _check_same(payload, "iss", "issuer", issuer)
    ids = [subject.get("id") for subject in entries(document, "credentialSubject")]
    sub = text_claim(payload, "sub")
    if sub is not None and any(ids) and sub not in ids:
        raise conflict("sub", "credentialSubject.id")
    return _statement(payload, document, issuer, window)


def presentation(payload: Json, kid: str | None) -> Statement:
    """The presentation that a payload is; its holder may be named by the key alone.

    Raises Invalid MALFORMED_VALUE_ERROR, CLAIM_CONFLICT.
    """
    document = _document(payload)
    check_frame(document, "2.0", "VerifiablePresentation")
    holder = text_claim(payload, "iss") or (kid or "").partition("#")[0]
    if "holder" in document:
        holder = issuer_of(document, "holder")
        _check_same(payload, "iss", "holder", holder)
    value = document.get("verifiableCredential", [])
    envelopes = value if isinstance(value, list) else [value]
    if len(envelopes) > MAX_ENCLOSED:
        raise malformed(f"verifiableCredential must have at most {MAX_ENCLOSED} credentials.")
    tokens = tuple(unwrap(envelope) for envelope in envelopes)
    return _statement(payload, document, holder, Window(), tokens)


def _document(payload: Json) -> Json:
    if "vc" in payload or "vp" in payload:
        raise malformed("A token of data model 2.0 must not have vc or vp: the payload is it.")
    document = {name: value for name, value in payload.items() if name not in _REGISTERED}
    jti = text_claim(payload, "jti")
    if jti is not None and document.get("id", jti) != jti:
        raise conflict("jti", "id")
    return document


def _check_same(payload: Json, claim: str, member: str, value: str) -> None:
    if text_claim(payload, claim) not in (None, value):
        raise conflict(claim, member)


def _statement(
    payload: Json,
    document: Json,
    signer: str,
    window: Window,
    tokens: tuple[str, ...] | None = None,
) -> Statement:
    return Statement(
        kind="credential" if tokens is None else "presentation",
        version="2.0",
        signer=signer,
        document=document,
        windows=(signature_window(payload), window),
        audience=audience(payload),
        nonce=text_claim(payload, "nonce"),
        enclosed=tokens or (),
    )
