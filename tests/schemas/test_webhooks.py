"""What a delivery may say."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.queues.webhooks import SPEC, Webhook
from schemas.spec import PAYLOAD_TOO_LARGE
from streams.backoff import delay_ms

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]


@pytest.mark.parametrize("method", ["DELETE", "post", "HEAD", "", None, "POST\n"])
def test_a_webhook_has_one_of_four_methods(places: Places, method: object) -> None:
    assert places(Webhook, method=method) == {"method"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH"])
def test_the_four_methods(good: Good, method: str) -> None:
    Webhook.model_validate(good[Webhook] | {"method": method})


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
def test_headers_a_job_may_not_set(places: Places, headers: object) -> None:
    assert places(Webhook, headers=headers) == {"headers"}


LIMIT = 256 * 1024


def test_a_body_is_at_most_256_kib_of_json(places: Places, good: Good) -> None:
    fits = {"x": "é" * ((LIMIT - len(b'{"x":""}')) // 2)}
    Webhook.model_validate(good[Webhook] | {"payload": fits})
    with pytest.raises(ValidationError) as caught:
        Webhook.model_validate(good[Webhook] | {"payload": {"x": fits["x"] + "é"}})
    (error,) = caught.value.errors()
    assert (error["type"], error["loc"]) == (PAYLOAD_TOO_LARGE, ("payload",))


@pytest.mark.parametrize("value", [999, 60_001, "5000", 1.5, True])
def test_a_timeout_is_a_number_of_milliseconds_within_a_minute(
    places: Places, value: object
) -> None:
    assert places(Webhook, timeoutMs=value) == {"timeoutMs"}


@pytest.mark.parametrize("value", ["true", 1, None])
def test_a_switch_is_true_or_false(places: Places, value: object) -> None:
    assert places(Webhook, retryOn4xx=value) == {"retryOn4xx"}


def test_what_a_job_may_add(good: Good) -> None:
    webhook = Webhook.model_validate(good[Webhook] | {"timeoutMs": 1_000, "retryOn4xx": True})
    assert (webhook.timeout_ms, webhook.retry_on_4xx) == (1_000, True)


def test_deliveries_may_be_put_off_for_long_but_tried_three_times() -> None:
    assert SPEC.max_starts > 24 * 3_600
    assert SPEC.defaults.attempts == 3
    backoff = SPEC.defaults.backoff
    assert backoff is not None
    assert [delay_ms(backoff, n) for n in (1, 2)] == [2_000, 4_000]
    assert [delay_ms(backoff, n, chance=1.0) for n in (1, 2)] == [2_400, 4_800]
    assert delay_ms(backoff, 1, chance=0.999_999) < 2_400
