"""A verifier with everything it asks: DIDs, status lists and schemas over guarded HTTP, and what
this installation hosts itself straight from Redis.

What waits for the network or computes for long is bounded for each organization, so that nobody
else waits for it: in the jobs that are under way (`WAITING`), in fetches from one host, and in
threads.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from consumers.processor import Resources
from consumers.status_lists import hosted_lists
from consumers.turns import FairExecutor
from credentials.requester import CapacityError, FairShare, Requester, current_requester
from credentials.resolver import Answer, Resolver
from credentials.retrieval import NotRetrieved, check_status
from credentials.settings import CredentialSettings
from credentials.verdict import Verdict
from credentials.verify import Expected, Verifier
from outbound.client import Client, Fetched, open_client
from outbound.errors import Blocked, OutboundError, TooLarge, Unreachable
from outbound.fetch_limits import FetchLimits, HostBusy
from outbound.settings import OutboundSettings
from streams import dids

FETCH_S = 10.0
DOCUMENTS = "application/did+json, application/did+ld+json;q=0.9, application/json;q=0.8"

WAITING = 64
"""Verifications of one worker that may be waiting for servers or for a thread at a time; one
organization has at most as many as are free."""

REFUSALS = (Blocked, TooLarge)
"""Of a fetch: for good."""
FAILURES = (Unreachable,)
"""Of a fetch: for now."""


class DocumentFetcher:
    """GET over a guarded client, within limits for each requester and host."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._limits = FetchLimits()

    async def fetch_document(self, url: str, max_bytes: int) -> Answer:
        """A DID document, for a Resolver. Raises OutboundError, CapacityError."""
        return await self._get(url, max_bytes, DOCUMENTS)

    async def fetch_body(self, url: str, max_bytes: int, accept: str) -> bytes:
        """A status list or schema, for a Verifier. Raises NotRetrieved, CapacityError."""
        try:
            answer = await self._get(url, max_bytes, accept)
        except OutboundError as error:
            transient = isinstance(error, FAILURES)
            after_s = getattr(error, "after_s", 0.0)
            raise NotRetrieved(str(error), transient=transient, after_s=after_s) from error
        check_status(answer.status)
        return answer.body

    async def _get(self, url: str, max_bytes: int, accept: str) -> Fetched:
        try:
            with self._limits.fetching(current_requester().name, url):
                return await self._client.get(
                    url, max_bytes=max_bytes, total_s=FETCH_S, accept=accept
                )
        except HostBusy as error:
            raise CapacityError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Verification:
    """A verifier, and the places that organizations share in it."""

    verifier: Verifier
    share: FairShare = field(default_factory=lambda: FairShare(WAITING))

    async def verify(
        self, text: str, expected: Expected | None = None, organization_id: str = ""
    ) -> Verdict:
        """The verdict about a token. Raises CouldNotTell, CapacityError."""
        requester = Requester(organization_id, self.share)
        return await self.verifier.verify(text, expected, requester)


@asynccontextmanager
async def open_verification(resources: Resources) -> AsyncIterator[Verification]:
    """What a processor verifies with. Raises ValidationError of settings, or OSError."""
    settings = CredentialSettings()
    executor = FairExecutor()
    async with open_client(OutboundSettings()) as client:
        fetcher = DocumentFetcher(client)
        resolver = Resolver(
            fetcher.fetch_document,
            hosted=partial(dids.find, resources.redis),
            refusals=REFUSALS,
            failures=FAILURES,
        )
        resolver.domain = settings.hosting_domain
        verifier = Verifier(
            resolver.resolve,
            fetcher.fetch_body,
            clock=time.time,
            skew_s=settings.clock_skew_s,
            hosted=hosted_lists(resources.redis, settings.public_url),
            list_issuers=settings.status_list_issuers,
        )
        verifier.take_turns(executor.run, executor.run_long)
        try:
            yield Verification(verifier)
        finally:
            executor.close()
