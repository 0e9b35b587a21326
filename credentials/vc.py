"""Credentials in the W3C data models 2.0 and 1.1, and the JWT payloads that carry them.

Everything here is a function of its arguments: run again, it gives the same credential.
"""

import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from credentials import references
from credentials.contexts import V1, V2
from credentials.datamodel import check_credential, issuer_of
from credentials.errors import CredentialError
from credentials.moments import date_time, written
from credentials.verdict import Invalid
from schemas.fields import DateTimeStamp
from schemas.queues.vc_issuance import DataModel, VcIssuance

Json = dict[str, Any]

FIRST_CONTEXT: Final[Mapping[DataModel, str]] = {"1.1": V1, "2.0": V2}
TYP: Final[Mapping[DataModel, str]] = {"1.1": "JWT", "2.0": "vc+jwt"}
CTY: Final[Mapping[DataModel, str | None]] = {"1.1": None, "2.0": "vc"}

_NAMESPACE = uuid.UUID("6f0f4f63-2c39-5d2b-9c0e-6c1f1d0a7c55")
_CLAIMS = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "vc", "vp", "proof")
"""What a credential may not have as a member: in the payload of a JWT it says something else."""
_START: Final[Mapping[DataModel, str]] = {"1.1": "issuanceDate", "2.0": "validFrom"}
_END: Final[Mapping[DataModel, str]] = {"1.1": "expirationDate", "2.0": "validUntil"}
_DATE_TIME_STAMP: TypeAdapter[str] = TypeAdapter(DateTimeStamp)


def credential_id(issuer_did: str, queue: str, job_id: str, timestamp_ms: int) -> str:
    """The id of the credential that a job issues: a `urn:uuid:` (UUIDv5), always the same one.

    The issuer is part of it because job ids are unique only within one installation, the time
    because an id may be used anew once its job is gone.
    """
    return uuid.uuid5(_NAMESPACE, f"{issuer_did}\n{queue}\n{job_id}\n{timestamp_ms}").urn


def moment(timestamp_ms: int) -> datetime:
    """Epoch milliseconds as a UTC time in whole seconds, the precision of a JWT."""
    return datetime.fromtimestamp(timestamp_ms // 1000, UTC)


def rfc3339(time: datetime) -> str:
    """A UTC time in whole seconds as `2025-01-01T00:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def data_model(request: VcIssuance, default: DataModel) -> DataModel:
    """The version to issue: what the job says, else its document, else `default` (C9)."""
    if request.data_model is not None:
        return request.data_model
    contexts = (request.credential or {}).get("@context")
    first = contexts[0] if isinstance(contexts, list) and contexts else None
    return next((model for model, url in FIRST_CONTEXT.items() if url == first), default)


def issuer(request: VcIssuance) -> str:
    """The DID that is to sign. Raises CredentialError: `credential_invalid`, `issuer_mismatch`."""
    if request.credential is None:
        return str(request.issuer_did)
    try:
        named = issuer_of(request.credential)
    except Invalid as error:
        raise CredentialError("credential_invalid", str(error)) from None
    if request.issuer_did not in (None, named):
        raise CredentialError(
            "issuer_mismatch", "issuerDid and the issuer of the credential are not the same."
        )
    return named


def compose(
    request: VcIssuance,
    model: DataModel,
    identifier: str,
    issued: datetime,
    contexts: Sequence[str] = (),
) -> Json:
    """The credential of a request, without credentialStatus; `contexts` follow the first one.

    Raises CredentialError: `credential_invalid` (E1-E10), `issuer_mismatch`, `subject_mismatch`,
    `subject_not_single` (B8), `expiration_in_past` (A8), `member_not_in_data_model`.
    """
    if request.credential is None:
        document = _from_claims(request, model, contexts)
    else:
        document = {**request.credential}
    issuer(request)
    document.setdefault("id", identifier)
    document.setdefault(_START[model], rfc3339(issued))
    # A whole credential may be one of the past, written down anew: the caller dated it (A8).
    _check(document, model, issued, ends_later=request.credential is None)
    _check_subject(document, model, request.subject_did)
    return document


def payload(document: Json, model: DataModel, issued: datetime) -> Json:
    """The claims of the JWT that carries `document`.

    2.0: the credential itself, with `iss` and `iat` about the signature; no `nbf` and no `exp`,
    since validFrom and validUntil speak about the data (C3, C4). 1.1: the registered claims beside
    the same in `vc`, to the second (B3).
    """
    said_by = issuer_of(document)
    issued_s = int(issued.timestamp())
    if model == "2.0":
        return document | {"iss": said_by, "iat": issued_s}
    body = dict(document)
    claims: Json = {"iss": said_by}
    subject = body["credentialSubject"].get("id")
    if subject is not None:
        claims["sub"] = subject
    claims |= {"jti": body["id"], "iat": issued_s}
    for claim, member in (("nbf", "issuanceDate"), ("exp", "expirationDate")):
        if member in body:
            claims[claim] = math.floor(date_time(member, body[member]))
            body[member] = written(claims[claim])
    return claims | {"vc": body}


def _from_claims(request: VcIssuance, model: DataModel, contexts: Sequence[str]) -> Json:
    types = ["VerifiableCredential"]
    if request.credential_type not in types:
        types.append(str(request.credential_type))
    document: Json = {"@context": [FIRST_CONTEXT[model], *contexts]}
    document |= {"type": types, "issuer": request.issuer_did}
    document |= {
        name: value
        for name, value in {
            "name": request.name,
            "description": request.description,
            _START[model]: request.valid_from,
            _END[model]: request.expiration_date,
        }.items()
        if value is not None
    }
    if model == "1.1" and (request.name is not None or request.description is not None):
        raise CredentialError(
            "member_not_in_data_model", "Data model 1.1 has no name and no description."
        )
    document["credentialSubject"] = {**(request.claims or {}), "id": request.subject_did}
    if request.credential_schema is not None:
        document["credentialSchema"] = one_or_many(
            [
                schema.model_dump(by_alias=True, exclude_none=True)
                for schema in request.credential_schema
            ]
        )
    return document


def one_or_many(items: list[Json]) -> Json | list[Json]:
    """A single object as itself: some readers know no array there."""
    return items[0] if len(items) == 1 else items


def _check(document: Json, model: DataModel, issued: datetime, *, ends_later: bool) -> None:
    """What holds for any credential, and what an issuer must not write (A6: verifiers take it)."""
    taken = next((name for name in _CLAIMS if name in document), None)
    if taken is not None:
        raise CredentialError(
            "credential_invalid", f"The credential must not have the member {taken}."
        )
    for member in (_START[model], _END[model]):
        if member in document and not _is_stamp(document[member]):
            raise CredentialError(
                "credential_invalid",
                f"{member} must be a date and time with offset, as 2030-01-31T00:00:00Z.",
            )
    end = document.get(_END[model])
    if ends_later and end is not None and date_time("", end) <= issued.timestamp():
        raise CredentialError(
            "expiration_in_past",
            f"The credential would expire at {end}, not after its issuance at {rfc3339(issued)}.",
        )
    try:
        check_credential(document, model)
        references.check(document)
    except CredentialError as error:
        raise CredentialError("credential_invalid", str(error)) from None


def _is_stamp(value: Any) -> bool:
    try:
        _DATE_TIME_STAMP.validate_python(value)
    except ValidationError:
        return False
    return True


def _check_subject(document: Json, model: DataModel, subject_did: str | None) -> None:
    subjects = document["credentialSubject"]
    if model == "1.1" and not isinstance(subjects, dict):
        raise CredentialError(
            "subject_not_single",
            "A credential of data model 1.1 has one subject: credentialSubject must be an object.",
        )
    named = [one.get("id") for one in (subjects if isinstance(subjects, list) else [subjects])]
    if subject_did is not None and subject_did not in named:
        raise CredentialError(
            "subject_mismatch", "subjectDid and the subject of the credential are not the same."
        )
