"""URLs that a job may name."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.queues.vc_issuance import VcIssuance
from schemas.queues.vc_verification import VcVerification
from schemas.queues.webhooks import Webhook

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]


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
        "http://127.1/", "http://0/", "http://2130706433:80/", "http://0x7f000001/",
        "http://0x/", "http://0177.0.0.1/", "http://127.0.0.1./", "http://1.2.3.4.5/",
        "http://a.1/", "http://256.1.1.1/",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("model", "field"),
    [(VcIssuance, "callbackUrl"), (VcVerification, "callbackUrl"), (Webhook, "url")],
)
def test_not_a_web_url(places: Places, model: type[BaseModel], field: str, url: object) -> None:
    assert places(model, **{field: url}) == {field}


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "http://localhost:3000/hook", "https://a-b.example/x?y=z&u=%20",
        "https://xn--bcher-kva.example:8443/", "http://[2001:db8::1]:8080/", "HTTPS://EXAMPLE.com/",
        "http://10.0.0.1/", "http://10.0.0.1:/", "https://1a.0x1g.example/", "https://1.com/",
        "https://my_service.internal./",
    ],
)  # fmt: skip
def test_a_web_url_is_kept_as_it_is(good: Good, url: str) -> None:
    request = VcIssuance.model_validate(good[VcIssuance] | {"callbackUrl": url})
    assert request.callback_url == url


def test_a_hostile_url_costs_no_time(places: Places) -> None:
    """Exponential backtracking would not come back from this one."""
    assert places(Webhook, url="http://" + "a" * 2_000 + "!/") == {"url"}
