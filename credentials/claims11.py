"""VC-JWT of the data model 1.1: registered claims beside a `vc` or `vp` member (B1-B8, D2).

Issuers write a value as a registered claim, inside `vc`, or both; all three are read. What stands
in both places must agree.
"""

from typing import Any

from credentials.datamodel import Json, check_credential, check_frame, issuer_of, malformed
from credentials.moments import Window, date_time, numeric_date, signature_window, written
from credentials.statements import MAX_ENCLOSED, Statement, audience, conflict, text_claim

TOLERANCE_S = 1.0
"""NumericDates are often whole seconds where the date beside them is not."""


def credential(payload: Json) -> Statement:
    """The credential in a token.

    Raises Invalid MALFORMED_VALUE_ERROR, CLAIM_CONFLICT.
    """
    document = _member(payload, "vc")
    _merge_issuer(payload, document, "issuer")
    _merge_id(payload, document)
    _merge_time(payload, document, "nbf", "issuanceDate")
    _merge_time(payload, document, "exp", "expirationDate")
    _merge_subject(payload, document)
    if "issuanceDate" not in document:
        raise malformed("A credential of data model 1.1 needs nbf or issuanceDate.")
    window = check_credential(document, "1.1")
    return _statement(payload, document, window)


def presentation(payload: Json) -> Statement:
    """The presentation in a token; its credentials are JWTs, nothing else.

    Raises Invalid MALFORMED_VALUE_ERROR, CLAIM_CONFLICT.
    """
    document = _member(payload, "vp")
    _merge_issuer(payload, document, "holder")
    _merge_id(payload, document)
    check_frame(document, "1.1", "VerifiablePresentation")
    value = document.get("verifiableCredential", [])
    tokens = value if isinstance(value, list) else [value]
    if len(tokens) > MAX_ENCLOSED or not all(isinstance(token, str) for token in tokens):
        raise malformed(f"verifiableCredential must be an array of at most {MAX_ENCLOSED} JWTs.")
    return _statement(payload, document, Window(), tuple(tokens))


def _statement(
    payload: Json, document: Json, window: Window, tokens: tuple[str, ...] | None = None
) -> Statement:
    return Statement(
        kind="credential" if tokens is None else "presentation",
        version="1.1",
        signer=str(payload["iss"]),
        document=document,
        windows=(signature_window(payload), window),
        audience=audience(payload),
        nonce=text_claim(payload, "nonce"),
        enclosed=tokens or (),
    )


def _member(payload: Json, name: str) -> Json:
    value = payload.get(name)
    if not isinstance(value, dict):
        raise malformed(f"A token of data model 1.1 must have {name}, an object.")
    other = "vp" if name == "vc" else "vc"
    if other in payload:
        raise malformed("A token must not have both vc and vp.")
    return dict(value)


def _merge_issuer(payload: Json, document: Json, member: str) -> None:
    """`iss` names the signer; an issuer object beside it keeps its other members."""
    iss = text_claim(payload, "iss")
    if iss is None:
        raise malformed("A token of data model 1.1 must have iss.")
    stated: Any = document.get(member)
    if isinstance(stated, dict) and "id" not in stated:
        document[member] = {**stated, "id": iss}
    elif member in document:
        if issuer_of(document, member) != iss:
            raise conflict("iss", f"vc.{member}" if member == "issuer" else f"vp.{member}")
    else:
        document[member] = iss


def _merge_id(payload: Json, document: Json) -> None:
    jti = text_claim(payload, "jti")
    if jti is None:
        return
    if document.setdefault("id", jti) != jti:
        raise conflict("jti", "id")


def _merge_time(payload: Json, document: Json, claim: str, member: str) -> None:
    if claim not in payload:
        return
    seconds = numeric_date(claim, payload[claim])
    if member not in document:
        document[member] = written(seconds)
    elif abs(date_time(member, document[member]) - seconds) > TOLERANCE_S:
        raise conflict(claim, f"vc.{member}")


def _merge_subject(payload: Json, document: Json) -> None:
    """`sub` is the id of the one subject; an array of several cannot have one (B8)."""
    sub = text_claim(payload, "sub")
    if sub is None:
        return
    subject: Any = document.get("credentialSubject")
    several = isinstance(subject, list)
    if several and len(subject) == 1:
        subject = subject[0]
    if not isinstance(subject, dict):
        raise malformed("credentialSubject must be one object when the token has sub.")
    if subject.get("id", sub) != sub:
        raise conflict("sub", "vc.credentialSubject.id")
    merged = {**subject, "id": sub}
    document["credentialSubject"] = [merged] if several else merged
