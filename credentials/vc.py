"""The body of a credential in the W3C VC Data Model 2.0.

Everything here is a function of the job: run again, it gives the same credential.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from credentials.errors import CredentialError
from schemas.queues.vc_issuance import VcIssuance

CONTEXTS = [
    "https://www.w3.org/ns/credentials/v2",
    # Must be the last one: it gives a meaning to every term the others leave undefined.
    "https://www.w3.org/ns/credentials/undefined-terms/v2",
]

_NAMESPACE = uuid.UUID("6f0f4f63-2c39-5d2b-9c0e-6c1f1d0a7c55")


def credential_id(issuer_did: str, queue: str, job_id: str) -> str:
    """The id of the credential that a job issues: a `urn:uuid:` (UUIDv5), always the same one.

    The issuer is part of it because job ids are unique only within one installation.
    """
    return uuid.uuid5(_NAMESPACE, f"{issuer_did}\n{queue}\n{job_id}").urn


def moment(timestamp_ms: int) -> datetime:
    """Epoch milliseconds as a UTC time in whole seconds, the precision of a JWT."""
    return datetime.fromtimestamp(timestamp_ms // 1000, UTC)


def rfc3339(time: datetime) -> str:
    """A UTC time in whole seconds as `2025-01-01T00:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def credential(request: VcIssuance, identifier: str, issued: datetime) -> dict[str, Any]:
    """The payload of the JWT: the credential itself, with `iss` and `iat` about the signature.

    Raises CredentialError `expiration_in_past` when it would expire before it was issued. There
    is no `nbf` and no `exp`: validFrom and validUntil speak about the data (VC-JOSE-COSE 3.1).
    """
    types = ["VerifiableCredential"]
    if request.credential_type not in types:
        types.append(request.credential_type)
    body: dict[str, Any] = {
        "@context": CONTEXTS,
        "id": identifier,
        "type": types,
        "issuer": request.issuer_did,
        "validFrom": rfc3339(issued),
    }
    if request.expiration_date is not None:
        if datetime.fromisoformat(request.expiration_date) <= issued:
            raise CredentialError(
                "expiration_in_past",
                f"expirationDate {request.expiration_date} is not after the time of issuance, "
                f"{rfc3339(issued)}.",
            )
        body["validUntil"] = request.expiration_date
    body["credentialSubject"] = {**request.claims, "id": request.subject_did}
    return body | {"iss": request.issuer_did, "iat": int(issued.timestamp())}
