"""From a DID to its document: did:key and did:jwk by computing, did:web by fetching.

Two kinds of failure, never mixed up: `RetrievalError` may pass, every other `DidError` stays.
Bounded in bytes (document.MAX_BYTES), in time (TOTAL_S), and in what is remembered: a fetched
document is believed for `cache_s`, so a key that its controller takes out counts that long. Whoever
waits for a fetch holds a place of its requester (`requester`), and fetches are shared within one.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from credentials import did_jwk, did_key, did_web
from credentials.document import MAX_BYTES, check, parse
from credentials.errors import Deactivated, DidError, RetrievalError
from credentials.requester import current_requester

TOTAL_S: Final = 15.0
INLINE_BYTES: Final = 8 * 1024
"""Longer documents are parsed in a thread, so that the event loop is not held."""
CACHE_S: Final = 60.0
CACHE_DOCUMENTS: Final = 1_000
CACHE_BYTES: Final = 16 * 1024 * 1024
"""Of documents as they were served; in memory they take several times as much."""
METHODS: Final = ("key", "jwk", "web")

_DID = re.compile(
    r"did:(?P<method>[a-z0-9]+):(?:(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})*:)*"
    r"(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})+"
)
_JSON = re.compile(r"application/(?:json|did|[a-z0-9.+-]+\+json)", re.IGNORECASE)
_AGAIN = frozenset({408, 421, 425, 429})
"""Statuses below 500 with which a server says: not now."""


class Answer(Protocol):
    """What a fetch brings: any status, also one that redirects; nothing was followed."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class Hosted(Protocol):
    """A did:web that is served from here."""

    @property
    def document(self) -> dict[str, Any] | None:
        """None: a tombstone."""

    @property
    def metadata(self) -> dict[str, Any]:
        """As DID Resolution 1.0 names it: created, updated, versionId, deactivated."""


Fetch = Callable[[str, int], Awaitable[Answer]]
"""`await fetch(url, max_bytes)`: GET over https, guarded against addresses that are not public."""
FindHosted = Callable[[str], Awaitable[Hosted | None]]


@dataclass(frozen=True, slots=True)
class Resolution:
    """A DID document and what is known about it."""

    document: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Fetch:
    """A fetch under way, and how many wait for it."""

    task: asyncio.Task[Resolution]
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """A fetched document, believed until `until_s`."""

    resolution: Resolution
    until_s: float
    size_bytes: int


class Resolver:
    """Resolves did:key, did:jwk and did:web, at most one fetch per DID and requester at a time.

    `refusals` and `failures` are what `fetch` raises: for good, and for now (with `after_s`, when
    that is known). Without `fetch`
    nothing is asked over the network: a did:web must be among `documents` or hosted.
    """

    def __init__(
        self,
        fetch: Fetch | None = None,
        *,
        hosted: FindHosted | None = None,
        documents: Mapping[str, Any] | None = None,
        refusals: tuple[type[Exception], ...] = (),
        failures: tuple[type[Exception], ...] = (),
    ) -> None:
        self.domain: str | None = None
        """The did:web domain that is served from here: nothing below it is fetched."""
        self.cache_s = CACHE_S
        self.clock: Callable[[], float] = time.monotonic
        self._fetch = fetch
        self._hosted = hosted
        self._documents = documents or {}
        self._refusals = refusals
        self._failures = failures
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._known_bytes = 0
        self._fetching: dict[tuple[str, str], _Fetch] = {}

    async def resolve(self, did: str) -> Resolution:
        """The document of a DID.

        Raises DidError for good (`code`: invalidDid, methodNotSupported, notFound, deactivated,
        blocked, invalidDidDocument, ...), RetrievalError when it may work later, CapacityError when
        too much is under way for this requester. Messages say nothing of networks and do not repeat
        the DID.
        """
        method = method_of(did)
        if did in self._documents:
            return Resolution(check(self._documents[did], did))
        if method == "key":
            return Resolution(did_key.document(did))
        if method == "jwk":
            return Resolution(did_jwk.document(did))
        if method != "web":
            raise DidError(
                "methodNotSupported",
                f"The method {method[:32]} is not supported; did:key, did:jwk and did:web are.",
            )
        return await self._web(did)

    async def _web(self, did: str) -> Resolution:
        domain, _ = did_web.split(did)
        hosted = await self._hosted(did) if self._hosted else None
        if hosted is not None:
            if hosted.document is None:
                raise Deactivated
            return Resolution(hosted.document, hosted.metadata)
        if domain == self.domain or self._fetch is None:
            raise DidError("notFound", "There is no document for this did:web.")
        known = self._known.get(did)
        if known is not None and self.clock() < known.until_s:
            return known.resolution
        return await self._shared(did)

    async def _shared(self, did: str) -> Resolution:
        """One fetch for all of a requester who ask now; it ends when nobody waits for it."""
        requester = current_requester()
        requester.occupy()
        name = (requester.name, did)
        fetch = self._fetching.get(name)
        if fetch is None:
            fetch = self._fetching[name] = _Fetch(asyncio.create_task(self._over_the_web(did)))
            fetch.task.add_done_callback(lambda done: self._drop(name, done))
        fetch.waiting += 1
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if not fetch.waiting and not fetch.task.done():
                self._drop(name, fetch.task)
                fetch.task.cancel()

    def _drop(self, name: tuple[str, str], task: asyncio.Task[Resolution]) -> None:
        """Share this fetch no more."""
        fetch = self._fetching.get(name)
        if fetch is not None and fetch.task is task:
            del self._fetching[name]
        # Read also when nobody waits any more, so that asyncio does not report it as forgotten.
        if task.done() and not task.cancelled():
            task.exception()

    def _keep(self, did: str, resolution: Resolution, size_bytes: int) -> None:
        self._forget(did)
        self._known[did] = _Known(resolution, self.clock() + self.cache_s, size_bytes)
        self._known_bytes += size_bytes
        while len(self._known) > CACHE_DOCUMENTS or self._known_bytes > CACHE_BYTES:
            self._forget(next(iter(self._known)))

    def _forget(self, did: str) -> None:
        known = self._known.pop(did, None)
        self._known_bytes -= known.size_bytes if known else 0

    async def _over_the_web(self, did: str) -> Resolution:
        assert self._fetch is not None  # noqa: S101 - asked in `_web`
        try:
            async with asyncio.timeout(TOTAL_S):
                answer = await self._fetch(did_web.url(did), MAX_BYTES)
        except TimeoutError:
            raise RetrievalError("The server of this did:web took too long.") from None
        except self._refusals as error:
            raise DidError("blocked", f"The document was not fetched: {error}") from None
        except self._failures as error:
            after_s = getattr(error, "after_s", 0.0)
            message = f"The document could not be fetched: {error}"
            raise RetrievalError(message, after_s=after_s) from None
        _judge(answer)
        if len(answer.body) > INLINE_BYTES:
            resolution = Resolution(await asyncio.to_thread(parse, answer.body, did))
        else:
            resolution = Resolution(parse(answer.body, did))
        self._keep(did, resolution, len(answer.body))
        return resolution


def method_of(did: str) -> str:
    """The method of a DID. Raises DidError `invalidDid`, also for a DID URL."""
    match = _DID.fullmatch(did) if len(did) <= did_jwk.MAX_CHARS else None
    if match is None:
        raise DidError("invalidDid", "This is not a DID, as did:web:example.com.")
    return match["method"]


def _judge(answer: Answer) -> None:
    """Raise unless this is a document to read."""
    status = answer.status
    if status == 200:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        # A server that does not say what it sends may be looked at (RFC 9110, 8.3).
        if kind and _JSON.fullmatch(kind) is None:
            raise DidError("invalidDidDocument", "The server sent something else than JSON.")
        return
    if status == 410:
        raise Deactivated
    if status >= 500 or status in _AGAIN:
        raise RetrievalError(f"The server of this did:web answered {status}.")
    if 300 <= status < 400:
        raise DidError("notFound", "The server redirects, and redirects are not followed.")
    raise DidError("notFound", f"The server of this did:web answered {status}.")
