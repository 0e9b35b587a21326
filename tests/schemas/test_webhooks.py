"""What a delivery may say."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.queues.webhooks import Webhook

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
