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
from streams.destinations import SecretShelf

RING = Keyring.parse(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")


def destinations(redis: Redis) -> Destinations:
    """Real destinations, with a key ring of the test run's."""
    return Destinations(redis, WebhookSecrets(SecretShelf(redis), RING, 0))


@asynccontextmanager
async def delivering(redis: Redis) -> AsyncIterator[Destinations]:
    """A worker while the block runs; yields what it asks about destinations."""
    desk = destinations(redis)
    async with open_client(open_settings()) as client:
        worker = Worker(PROCESSOR, redis=redis)
        worker.state = Delivery(client, desk)
        async with worker:
            yield desk
        await desk.close()
