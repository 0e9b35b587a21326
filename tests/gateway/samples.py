"""What the tests of the gateway share."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from aiohttp import ClientSession

from gateway.settings import GatewaySettings

ISSUANCE = {
    "issuerDid": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    "subjectDid": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
    "credentialType": "UniversityDegreeCredential",
    "claims": {"degree": "Bachelor of Science", "graduationYear": 2024},
    "organizationId": "org-123",
    "userId": "user-456",
}

Serve = Callable[[GatewaySettings], AbstractAsyncContextManager[ClientSession]]
