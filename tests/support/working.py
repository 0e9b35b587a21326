"""A worker of the webhooks queue that may call loopback."""

import base64
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from receivers import open_settings

from consumers import Worker
from consumers.delivery.send import Delivery
from consumers.destinations import Destinations
from consumers.processors.webhooks import PROCESSOR
from credentials.keyring import Keyring
from credentials.webhook_secrets import WebhookSecrets
from outbound.client import open_client
from streams import Redis
from streams.destinations import Rules
from streams.secret_shelf import SecretShelf

RING = Keyring.parse(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")


def destinations(redis: Redis, rules: Rules | None = None) -> Destinations:
    """Real destinations, with a key ring of the test run's."""
    return Destinations(redis, WebhookSecrets(SecretShelf(redis), RING, 0), rules)


@asynccontextmanager
async def delivering(
    redis: Redis, rules: Rules | None = None, *, concurrency: int = 5
) -> AsyncIterator[Destinations]:
    """A worker while the block runs; yields what it asks about destinations."""
    async with open_client(open_settings()) as client, destinations(redis, rules) as desk:
        worker = Worker(PROCESSOR, redis=redis, concurrency=concurrency)
        worker.state = Delivery(client, desk)
        async with worker:
            yield desk
