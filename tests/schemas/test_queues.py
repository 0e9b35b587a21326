"""The five queues: the wire fields exactly, and their specs."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.queues.did_operations import DidOperation
from schemas.queues.emails import Email
from schemas.queues.status_lists import StatusListPublication
from schemas.queues.vc_issuance import VcIssuance
from schemas.queues.vc_verification import VcVerification
from schemas.queues.webhooks import Webhook
from schemas.spec import catalog

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]

REQUIRED = {
    VcIssuance: {
        "issuerDid", "subjectDid", "credentialType", "claims", "organizationId", "userId",
    },
    VcVerification: {"vcJwt", "organizationId", "userId"},
    Webhook: {"url", "method", "payload", "event", "organizationId"},
    Email: {"to", "template", "context", "organizationId"},
    DidOperation: {"operation", "didMethod", "organizationId", "userId"},
}  # fmt: skip
OPTIONAL: dict[type[BaseModel], set[str]] = {
    VcIssuance: {
        "credential", "dataModel", "validFrom", "contexts", "name", "description",
        "credentialSchema", "status",
    },
    VcVerification: {"audience", "expect", "nonce"},
    DidOperation: {"did"},
    Webhook: {"timeoutMs", "retryOn4xx"},
    Email: {
        "replyTo", "cc", "sendAt", "metadata", "tags", "onAmbiguous", "unsubscribe",
    },
}  # fmt: skip
"""Members that the published payloads do not show."""


@pytest.mark.parametrize("model", REQUIRED, ids=lambda m: m.__name__)
def test_the_wire_fields_exactly(places: Places, good: Good, model: type[BaseModel]) -> None:
    payload = good[model]
    assert model.model_validate(payload).model_dump(by_alias=True, exclude_unset=True) == payload
    schema = model.model_json_schema()
    # A payload that can be written in two ways requires the words of either.
    required = set(schema["required"]) | set(schema.get("anyOf", [{}])[0].get("required", []))
    assert required == REQUIRED[model]
    assert set(schema["properties"]) == set(payload) | OPTIONAL.get(model, set())
    assert schema["additionalProperties"] is False
    for name in REQUIRED[model]:
        with pytest.raises(ValidationError) as caught:
            model.model_validate({k: v for k, v in payload.items() if k != name})
        assert [error["loc"] for error in caught.value.errors()] == [(name,)]
    assert places(model, surprise=1) == {"surprise"}


@pytest.mark.parametrize("model", REQUIRED, ids=lambda m: m.__name__)
def test_python_names_are_not_wire_names(good: Good, model: type[BaseModel]) -> None:
    payload = dict(good[model])
    payload["organization_id"] = payload.pop("organizationId")
    with pytest.raises(ValidationError):
        model.model_validate(payload)


def test_the_catalogue_has_the_five_queues_and_that_of_status_lists() -> None:
    assert {name: spec.payload for name, spec in catalog().items()} == {
        "status-lists": StatusListPublication,
        "vc-issuance": VcIssuance,
        "vc-verification": VcVerification,
        "webhooks": Webhook,
        "emails": Email,
        "did-operations": DidOperation,
    }


def test_webhooks_wait_at_least_two_seconds_and_spread() -> None:
    defaults = catalog()["webhooks"].defaults
    assert defaults.attempts == 3
    assert defaults.backoff is not None
    assert (defaults.backoff.type, defaults.backoff.delay) == ("exponential", 2_000)
    assert defaults.backoff.jitter == 0.2


def test_callback_events() -> None:
    def names(queue: str, **payload: str) -> tuple[str, str]:
        events = catalog()[queue].events
        assert events is not None
        found = events(payload)
        return found.completed, found.failed

    assert names("vc-issuance") == ("vc.issued", "vc.issuance.failed")
    assert names("vc-verification") == ("vc.verified", "vc.verification.failed")
    assert names("did-operations", operation="create") == ("did.created", "did.creation.failed")
    assert names("did-operations", operation="update") == ("did.updated", "did.update.failed")
    assert names("did-operations", operation="deactivate") == (
        "did.deactivated",
        "did.deactivation.failed",
    )
    assert names("webhooks") == ("webhook.delivered", "webhook.failed")
    assert names("emails") == ("email.sent", "email.failed")
