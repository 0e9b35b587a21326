"""A good payload of each queue, and where a changed one is refused."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.queues.did_operations import DidOperation
from schemas.queues.emails import Email
from schemas.queues.vc_issuance import VcIssuance
from schemas.queues.vc_verification import VcVerification
from schemas.queues.webhooks import Webhook

GOOD: dict[type[BaseModel], dict[str, Any]] = {
    VcIssuance: {
        "issuerDid": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "subjectDid": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
        "credentialType": "UniversityDegreeCredential",
        "claims": {"degree": "Bachelor of Science", "graduationYear": 2024},
        "expirationDate": "2035-01-01T00:00:00Z",
        "organizationId": "org-123",
        "userId": "user-456",
        "callbackUrl": "https://myapp.com/webhooks/vc-issued",
    },
    VcVerification: {
        "vcJwt": "eyJhbGciOiJFZERTQSJ9.e30.c2ln",
        "verifierDid": "did:web:verifier.example",
        "organizationId": "org-123",
        "userId": "user-456",
        "callbackUrl": "https://myapp.com/webhooks/verified",
    },
    Webhook: {
        "url": "https://example.com/hook",
        "method": "POST",
        "headers": {"Authorization": "Bearer abc", "X-Custom": "v", "X-Empty": ""},
        "payload": {"event": "vc.issued"},
        "event": "vc.issued",
        "organizationId": "org-123",
    },
    Email: {
        "to": "jane+tag@example.com",
        "subject": "Grüße",
        "template": "vc-issued",
        "context": {"name": "Jane"},
        "organizationId": "org-123",
        "userId": "user-456",
        "attachments": [{"filename": "a.txt", "content": "aGk=", "encoding": "base64"}],
    },
    DidOperation: {
        "operation": "create",
        "didMethod": "key",
        "organizationId": "org-123",
        "userId": "user-456",
        "metadata": {"keyType": "Ed25519"},
        "callbackUrl": "https://myapp.com/webhooks/did",
    },
}


@pytest.fixture
def good() -> Mapping[type[BaseModel], dict[str, Any]]:
    return GOOD


@pytest.fixture
def places() -> Callable[..., set[str]]:
    """places(Model, field=value): where the good payload with these changes fails."""

    def places(model: type[BaseModel], **changes: Any) -> set[str]:
        with pytest.raises(ValidationError) as caught:
            model.model_validate(GOOD[model] | changes)
        return {str(error["loc"][0]) for error in caught.value.errors()}

    return places
