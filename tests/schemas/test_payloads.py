"""Every payload: the wire fields exactly, and each bad value refused with its place."""

import math
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.queues.did_operations import DidOperation
from schemas.queues.emails import Email
from schemas.queues.vc_issuance import VcIssuance
from schemas.queues.vc_verification import VcVerification, VcVerified
from schemas.queues.webhooks import Webhook
from schemas.spec import catalog

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
REQUIRED = {
    VcIssuance: {
        "issuerDid", "subjectDid", "credentialType", "claims", "organizationId", "userId",
    },
    VcVerification: {"vcJwt", "organizationId", "userId"},
    Webhook: {"url", "method", "payload", "event", "organizationId"},
    Email: {"to", "subject", "template", "context", "organizationId"},
    DidOperation: {"operation", "didMethod", "organizationId", "userId"},
}  # fmt: skip


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def places(model: type[BaseModel], **changes: Any) -> set[str]:
    """Where validation of the good payload with these changes fails."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(GOOD[model] | changes)
    return {str(error["loc"][0]) for error in caught.value.errors()}


@pytest.mark.parametrize("model", GOOD, ids=lambda m: m.__name__)
def test_the_wire_fields_exactly(model: type[BaseModel]) -> None:
    good = GOOD[model]
    assert model.model_validate(good).model_dump(by_alias=True, exclude_unset=True) == good
    schema = model.model_json_schema()
    assert set(schema["required"]) == REQUIRED[model]
    assert set(schema["properties"]) == set(good) | ({"did"} if model is DidOperation else set())
    assert schema["additionalProperties"] is False
    for name in REQUIRED[model]:
        with pytest.raises(ValidationError) as caught:
            model.model_validate({k: v for k, v in good.items() if k != name})
        assert [error["loc"] for error in caught.value.errors()] == [(name,)]
    assert places(model, surprise=1) == {"surprise"}


@pytest.mark.parametrize("model", GOOD, ids=lambda m: m.__name__)
def test_python_names_are_not_wire_names(model: type[BaseModel]) -> None:
    good = dict(GOOD[model])
    good["organization_id"] = good.pop("organizationId")
    with pytest.raises(ValidationError):
        model.model_validate(good)


@pytest.mark.parametrize("value", ["", "a\nb", 7, None, "x" * 257])
def test_an_organization_has_a_name(value: object) -> None:
    assert places(VcIssuance, organizationId=value) == {"organizationId"}


@pytest.mark.parametrize(
    "did",
    [
        "", "did", "did:key", "did:key:", "DID:key:z6Mk", "did:KEY:z6Mk", "did:key:z6Mk\n",
        " did:key:z6Mk", "did:key:z6Mk#z6Mk", "did:key:z6Mk/path", "did:key:z6Mk?x=1",
        "did:web:%zz", "did:web:a:", "did:exa mple:1", "did:key:@", "notDid:key:z6Mk",
        "did:key:" + "z" * 2_048, 1, None,
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["issuerDid", "subjectDid"])
def test_not_a_did(field: str, did: object) -> None:
    assert places(VcIssuance, **{field: did}) == {field}


@pytest.mark.parametrize(
    "did", ["did:example:1", "did:web:a.example%3A3000:b", "did:web:a::b", "did:jwk:eyJ-_"]
)
def test_a_did(did: str) -> None:
    VcIssuance.model_validate(GOOD[VcIssuance] | {"subjectDid": did})


@pytest.mark.parametrize(
    "value",
    ["", " ", "A B", "A\n", "\tA", "@type", "a/b", "#A", "http:", "http://a b", 'A"B', "<A>", 3],
)
def test_not_a_credential_type(value: object) -> None:
    assert places(VcIssuance, credentialType=value) == {"credentialType"}


@pytest.mark.parametrize(
    "value",
    [
        "VerifiableCredential",
        "DegreeCredential",
        "Führerschein",
        "https://a.example/v#T",
        "urn:x:y",
    ],
)
def test_a_credential_type(value: str) -> None:
    VcIssuance.model_validate(GOOD[VcIssuance] | {"credentialType": value})


@pytest.mark.parametrize(
    "value",
    [
        "2035-01-01", "2035-01-01T00:00:00", "2035-01-01 00:00:00Z", "2035-01-01T00:00Z",
        "2035-13-01T00:00:00Z", "2035-02-29T00:00:00Z", "2035-01-01T24:00:00Z",
        "2035-01-01T00:00:60Z", "2035-01-01T00:00:00z", "2035-01-01T00:00:00+0100",
        "2035-01-01T00:00:00+15:00", "2035-01-01T00:00:00Z\n", "٢٠٣٥-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z", "tomorrow", "", 2_051_222_400,
    ],
)  # fmt: skip
def test_not_a_date_time_with_offset(value: object) -> None:
    assert places(VcIssuance, expirationDate=value) == {"expirationDate"}


@pytest.mark.parametrize(
    "value",
    ["2036-02-29T23:59:59Z", "2035-01-01T00:00:00.123456789+05:30", "9999-12-31T23:59:59-14:00"],
)
def test_a_date_time_with_offset(value: str) -> None:
    request = VcIssuance.model_validate(GOOD[VcIssuance] | {"expirationDate": value})
    assert request.expiration_date == value


@pytest.mark.parametrize(
    "claims",
    [
        {}, [], None, "x", [{"a": 1}], {1: 2}, {"a": math.nan}, {"a": [math.inf]}, {"a": "\ud800"},
        {"\udfff": 1}, {"a": object()}, {"a": b"x"}, {"a": (1, 2)}, {"a": 2**64}, {"@id": "did:example:other"},
        {"@context": "https://evil.example"}, {"id": "did:example:other", "a": 1}, {"id": None},
        nested(66),
    ],
)  # fmt: skip
def test_claims_that_are_refused(claims: object) -> None:
    assert places(VcIssuance, claims=claims) == {"claims"}


def test_claims_may_name_their_subject() -> None:
    good = GOOD[VcIssuance]
    claims = {"id": good["subjectDid"], "deep": nested(60), "n": None, "t": True, "x": 2**64 - 1}
    assert VcIssuance.model_validate(good | {"claims": claims}).claims == claims


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com/", "ftp://example.com/", "file:///etc/passwd",
        "http+unix://%2Ftmp%2Fx/", "http:///x", "https://", "https://:80/", "https://?x",
        "http://user@example.com/", "http://user:pw@example.com/", "https://@example.com/",
        "https://example.com:99999/", "https://example.com:x/", "https://example.com:0/",
        "https://example.com/#a", "https://example.com/ a", "https://example.com/\r\nX: 1",
        "https://example.com\n", "https://exa\tmple.com/", "https://example.com\\@evil.example/",
        "http://[fe80::1%25lo]/", "http://[::1/", "http://127。0。0。1/", "https://exämple.com/",
        "https://" + "a" * 64 + ".com/", "https://-a.com/", "https://a..b/",
        "https://example.com/" + "a" * 2_048, "javascript:alert(1)", 5,
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("model", "field"),
    [(VcIssuance, "callbackUrl"), (VcVerification, "callbackUrl"), (Webhook, "url")],
)
def test_not_a_web_url(model: type[BaseModel], field: str, url: object) -> None:
    assert places(model, **{field: url}) == {field}


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "http://localhost:3000/hook", "https://a-b.example/x?y=z&u=%20",
        "https://xn--bcher-kva.example:8443/", "http://[2001:db8::1]:8080/", "HTTPS://EXAMPLE.com/",
        "http://10.0.0.1/", "https://my_service.internal./",
    ],
)  # fmt: skip
def test_a_web_url_is_kept_as_it_is(url: str) -> None:
    request = VcIssuance.model_validate(GOOD[VcIssuance] | {"callbackUrl": url})
    assert request.callback_url == url


def test_a_hostile_url_costs_no_time() -> None:
    """Exponential backtracking would not come back from this one."""
    assert places(Webhook, url="http://" + "a" * 2_000 + "!/") == {"url"}


def test_a_malformed_token_is_a_verdict_not_an_error() -> None:
    good = GOOD[VcVerification]
    assert VcVerification.model_validate(good | {"vcJwt": "not a token"}).vc_jwt == "not a token"
    assert places(VcVerification, vcJwt="") == {"vcJwt"}
    assert places(VcVerification, vcJwt="x" * (256 * 1024 + 1)) == {"vcJwt"}
    with pytest.raises(ValidationError):
        VcVerified.model_validate({"valid": "true"})


@pytest.mark.parametrize("method", ["DELETE", "post", "HEAD", "", None, "POST\n"])
def test_a_webhook_has_one_of_four_methods(method: object) -> None:
    assert places(Webhook, method=method) == {"method"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
def test_the_four_methods(method: str) -> None:
    Webhook.model_validate(GOOD[Webhook] | {"method": method})


@pytest.mark.parametrize(
    "headers",
    [
        *({name: "v"} for name in [
            "", "X Y", "X:Y", "X\r\nEvil", "X\n", "X\x00", "é", "Host", "host", "Content-Length",
            "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect",
            "Proxy-Authorization", "Proxy-Connection", "Content-Encoding", "Content-Type",
            "User-Agent", "Webhook-Id", "WEBHOOK-SIGNATURE", "webhook-timestamp", "Cookie",
            "Set-Cookie", "X-Amz-Security-Token", "Metadata-Flavor", "X-aws-ec2-metadata-token",
            "Forwarded", "X-Forwarded-For",
        ]),
        *({"X": value} for value in [
            "a\r\nEvil: 1", "a\nb", "a\rb", "a\x00b", "a\x7fb", "x" * 4_097, "日本", 1, None,
        ]),
        {"X-A": "1", "x-a": "2"}, {f"X-{n}": "v" for n in range(33)}, [], "X: 1",
    ],
)  # fmt: skip
def test_headers_a_job_may_not_set(headers: object) -> None:
    assert places(Webhook, headers=headers) == {"headers"}


@pytest.mark.parametrize(
    "to",
    [
        "", "evil", "a@b.com\r\nBcc: x@y.z", "g: a@b.com, c@d.com;", '"a b"@c.com',
        "a@[127.0.0.1]", "a@localhost", "a@b..com", ".a@b.com", "a@b.com>", "a@b.com> SIZE=1",
        "a@b.com>\r\nRCPT TO:<evil@x.y", "a@b.com,c@d.com", "A <a@b.com>", "a@b.com\n", "a@-b.com",
        "a@@b.com", "x" * 65 + "@b.com", ["a@b.com"],
    ],
)  # fmt: skip
def test_an_email_goes_to_exactly_one_mailbox(to: object) -> None:
    assert places(Email, to=to) == {"to"}


@pytest.mark.parametrize("to", ["a@b.com", "a+tag@b.com", "josé@exämple.com", "o'x@a-b.co.uk"])
def test_a_mailbox(to: str) -> None:
    Email.model_validate(GOOD[Email] | {"to": to})


@pytest.mark.parametrize(
    "subject",
    [
        "a\r\nBcc: x@y.z", "a\rb", "a\x85b", "a\x0bb", "a\x1cb", "a\u2028b", "a\u2029b", "a\x00",
        "=?utf-8?q?a=0ABcc:_x@y.z?=", "=?UTF-8?B?YQ0KQmNjOiB4QHkueg==?=",
        "A =?UTF-8?Q?=0A?=Bcc: injected@example.com", "x" * 999,
    ],
)  # fmt: skip
def test_a_subject_cannot_carry_a_header(subject: str) -> None:
    assert places(Email, subject=subject) == {"subject"}


@pytest.mark.parametrize("template", ["", "../etc/passwd", "A", "a b", "a\n", "-a", "a" * 65])
def test_a_template_is_named_not_located(template: str) -> None:
    assert places(Email, template=template) == {"template"}


@pytest.mark.parametrize(
    "attachment",
    [
        {"filename": "a", "content": "aGk", "encoding": "base64"},
        {"filename": "a", "content": "a Gk=", "encoding": "base64"},
        {"filename": "a", "content": "686", "encoding": "hex"},
        {"filename": "a", "content": "x", "encoding": "rot13"},
        {"filename": "", "content": "x"},
        {"filename": "a\r\nX-Evil: 1.txt", "content": "x"},
        {"filename": "a", "content": "x", "path": "/etc/passwd"},
        {"filename": "a"},
    ],
)
def test_attachments_that_are_refused(attachment: dict[str, str]) -> None:
    assert places(Email, attachments=[attachment]) == {"attachments"}


def test_attachments_have_bounds() -> None:
    one = {"filename": "a", "content": "x"}
    assert places(Email, attachments=[one] * 11) == {"attachments"}
    half = {"filename": "a", "content": "x" * (6 * 1024 * 1024)}
    assert places(Email, attachments=[half, half]) == {"attachments"}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"operation": "delete"}, "operation"),
        ({"didMethod": "ion"}, "didMethod"),
        ({"did": "did:key:z6Mk"}, "did"),
        ({"metadata": {"keyType": 1}}, "metadata"),
        ({"metadata": {"did": "z6Mk"}}, "metadata"),
        ({"metadata": [1]}, "metadata"),
        ({"operation": "update", "didMethod": "web"}, "did"),
        ({"operation": "deactivate", "didMethod": "web", "did": "did:key:z6Mk"}, "did"),
        (
            {
                "operation": "update",
                "didMethod": "web",
                "did": "did:web:a.example",
                "metadata": {"did": "did:web:b.example"},
            },
            "did",
        ),
    ],
)
def test_did_operations_that_are_refused(changes: dict[str, Any], place: str) -> None:
    assert places(DidOperation, **changes) == {place}


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({}, None),
        ({"metadata": None}, None),
        ({"operation": "update"}, None),
        ({"operation": "update", "did": "did:key:z6Mk"}, "did:key:z6Mk"),
        (
            {"operation": "deactivate", "didMethod": "web", "metadata": {"did": "did:web:a.b"}},
            "did:web:a.b",
        ),
        ({"didMethod": "web", "did": "did:web:a.b"}, "did:web:a.b"),
    ],
)
def test_did_operations_name_their_did(changes: dict[str, Any], target: str | None) -> None:
    assert DidOperation.model_validate(GOOD[DidOperation] | changes).target == target


def test_the_catalogue_has_the_five_queues() -> None:
    assert {name: spec.payload for name, spec in catalog().items()} == {
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
