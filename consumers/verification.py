"""A verifier with everything it asks: DIDs, status lists and schemas over guarded HTTP, and what
this installation hosts itself straight from Redis."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from consumers.processor import Resources
from consumers.status_lists import hosted_lists
from consumers.turns import Turns
from credentials.resolver import Answer, Resolver
from credentials.retrieval import NotRetrieved, check_status
from credentials.settings import CredentialSettings
from credentials.verify import Verifier
from outbound.client import Client, open_client
from outbound.errors import Blocked, OutboundError, TooLarge, Unreachable
from outbound.settings import OutboundSettings
from streams import dids

FETCH_S = 10.0
DOCUMENTS = "application/did+json, application/did+ld+json;q=0.9, application/json;q=0.8"

REFUSALS = (Blocked, TooLarge)
"""Of a fetch: for good."""
FAILURES = (Unreachable,)
"""Of a fetch: for now."""


def document_fetch(client: Client) -> Callable[[str, int], Awaitable[Answer]]:
    """How a Resolver fetches documents with this client."""

    async def fetch(url: str, max_bytes: int) -> Answer:
        return await client.get(url, max_bytes=max_bytes, total_s=FETCH_S, accept=DOCUMENTS)

    return fetch


def body_fetch(client: Client) -> Callable[[str, int, str], Awaitable[bytes]]:
    """How a Verifier fetches status lists and schemas with this client."""

    async def retrieve(url: str, max_bytes: int, accept: str) -> bytes:
        try:
            answer = await client.get(url, max_bytes=max_bytes, total_s=FETCH_S, accept=accept)
        except OutboundError as error:
            raise NotRetrieved(str(error), transient=isinstance(error, FAILURES)) from error
        check_status(answer.status)
        return answer.body

    return retrieve


@asynccontextmanager
async def open_verifier(resources: Resources) -> AsyncIterator[Verifier]:
    """The verifier of a processor. Raises ValidationError of settings, or OSError."""
    settings = CredentialSettings()
    async with open_client(OutboundSettings()) as client:
        resolver = Resolver(
            document_fetch(client),
            hosted=partial(dids.find, resources.redis),
            refusals=REFUSALS,
            failures=FAILURES,
        )
        resolver.domain = settings.hosting_domain
        verifier = Verifier(
            resolver.resolve,
            body_fetch(client),
            clock=time.time,
            skew_s=settings.clock_skew_s,
            hosted=hosted_lists(resources.redis, settings.public_url),
            list_issuers=settings.status_list_issuers,
        )
        verifier.take_turns(Turns().run)
        yield verifier
