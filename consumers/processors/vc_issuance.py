"""vc-issuance: sign a credential with the issuer's key.

Idempotent: id, time and signature all follow from the job, so however often it runs it gives the
same credential, byte for byte. What does not follow from it, places in status lists and the time of
a delayed job, is remembered for it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from consumers.custody import SigningKey, open_custody
from consumers.processor import Context, Processor, Reject, Resources
from consumers.status_lists import StatusLists
from consumers.turns import FairExecutor
from credentials import did_jwk, did_key, vc
from credentials.contexts import UNDEFINED_TERMS, Contexts
from credentials.errors import CredentialError, DidError
from credentials.settings import CredentialSettings
from credentials.signer import sign
from schemas.queues.vc_issuance import SPEC, DataModel, VcIssuance
from streams import Job

ON_THE_LOOP_BYTES = 16 * 1024
"""A larger job is composed and signed in a thread, where it keeps nobody waiting."""

_SELF_CONTAINED: dict[str, Callable[[str], Any]] = {
    "did:key:": did_key.decode,
    "did:jwk:": did_jwk.decode,
}

Json = dict[str, Any]
T = TypeVar("T")


class Keys(Protocol):
    """Who lends a signing key: the custody, or a person with a key file."""

    async def signing_key(self, did: str, organization_id: str) -> SigningKey:
        """The key with which `organization_id` signs as `did`. Raises CredentialError."""


class Entries(Protocol):
    """Who gives places in status lists."""

    async def assign(
        self,
        credential_id: str,
        issuer_did: str,
        organization_id: str,
        purposes: Sequence[Any],
        origin: tuple[str, ...],
    ) -> list[Json]:
        """A credentialStatus entry for each purpose, the same ones for the same origin."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What makes one issuance differ from another of the same request."""

    issued: datetime
    """In whole seconds."""
    identify: Callable[[str], str]
    """Issuer -> the credential's id, unless it has one of its own."""
    origin: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A credential to be signed, but for its status."""

    request: VcIssuance
    issuer: str
    model: DataModel
    document: Json


@dataclass(frozen=True, slots=True)
class Issuance:
    """What it takes to issue: keys, status lists, contexts and settings."""

    keys: Keys
    entries: Entries
    contexts: Contexts = field(default_factory=Contexts.load)
    settings: CredentialSettings = field(default_factory=CredentialSettings)
    executor: FairExecutor = field(default_factory=FairExecutor)
    expanding: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Credentials of a new shape are expanded one after the other: a large one takes its time, and
    only one of the threads that others need."""

    async def issue(self, data: Any, occasion: Occasion, *, large: bool = False) -> Json:
        """Answer `{vcJwt, credentialId, issuedAt}` for the data of a job. Raises CredentialError.

        Whatever can be refused is refused before a place in a status list is taken.
        """
        draft = await self._compute(large, self._draft, data, occasion)
        request, document = draft.request, draft.document
        key = await self.keys.signing_key(draft.issuer, request.organization_id)
        await self._settle_contexts(draft, large=large)
        if request.status is not None:
            entries = await self.entries.assign(
                document["id"],
                draft.issuer,
                request.organization_id,
                request.status,
                occasion.origin,
            )
            document["credentialStatus"] = vc.one_or_many(entries)
        token = await self._compute(large, _sign, draft, occasion.issued, key)
        issued_at = vc.rfc3339(occasion.issued)
        return {"vcJwt": token, "credentialId": document["id"], "issuedAt": issued_at}

    async def _compute(self, large: bool, function: Callable[..., T], *args: Any) -> T:
        """Out of everybody's way: in a thread if it takes long, else when it is this job's turn."""
        if large:
            return await asyncio.to_thread(function, *args)
        return await self.executor.run(function, *args)

    def _draft(self, data: Any, occasion: Occasion) -> Draft:
        request = VcIssuance.model_validate(data)
        issuer, model = vc.issuer(request), vc.data_model(request, self.settings.vc_data_model)
        _check_subject(request.subject_did)
        contexts = request.contexts
        if contexts is None:
            contexts = self.contexts.of_type(request.credential_type or "")
        identifier = occasion.identify(issuer)
        document = vc.compose(request, model, identifier, occasion.issued, contexts)
        return Draft(request, issuer, model, document)

    async def _settle_contexts(self, draft: Draft, *, large: bool) -> None:
        """Give a meaning to every term, as data model 2.0 demands (C5); refuse what JSON-LD does
        (E9) in either."""
        document = draft.document
        undefined = None if large else self.contexts.remembered(document)
        if undefined is None:
            async with self.expanding:
                undefined = await asyncio.to_thread(self.contexts.leaves_undefined, document)
        if undefined and draft.model == "2.0":
            document["@context"] = [*document["@context"], UNDEFINED_TERMS]


def _sign(draft: Draft, issued: datetime, key: SigningKey) -> str:
    return sign(
        vc.payload(draft.document, draft.model, issued),
        key.private,
        key.id,
        algorithm=key.algorithm,
        typ=vc.TYP[draft.model],
        cty=vc.CTY[draft.model],
    )


def _check_subject(did: str | None) -> None:
    """A did:key or did:jwk says by itself whether it is one; other methods cannot be judged from
    here. A did:jwk that holds a private key must not be spread any further (G6)."""
    decode = _SELF_CONTAINED.get((did or "")[:8])
    try:
        if did is not None and decode is not None:
            decode(did)
    except DidError as error:
        raise CredentialError("subject_invalid", f"subjectDid is not a DID. {error}") from None


async def handle(job: Job, context: Context) -> Json:
    """Answer `{vcJwt, credentialId, issuedAt}`.

    Rejects, for good, with the code of the CredentialError: see docs/credentials.md.
    """
    issuance: Issuance = context.state
    large = len(job.body) > ON_THE_LOOP_BYTES or "B" in job.header.flags
    occasion = Occasion(
        issued=vc.moment(await _issued_ms(job, context)),
        identify=lambda issuer: vc.credential_id(issuer, job.queue, job.ref, job.timestamp),
        origin=(job.queue, job.ref, str(job.timestamp)),
    )
    try:
        return await issuance.issue(job.payload, occasion, large=large)
    except CredentialError as error:
        raise Reject(str(error), code=error.code) from None


async def _issued_ms(job: Job, context: Context) -> int:
    """When the job was submitted; for a delayed one, when a worker first took it (it may have been
    promoted before it was due)."""
    if not job.opts.get("delay"):
        return job.timestamp
    remembered = await context.recall()
    if isinstance(remembered, int):
        return remembered
    await context.remember(job.claimed_ms)
    return job.claimed_ms


@asynccontextmanager
async def open_issuance(resources: Resources) -> AsyncIterator[Issuance]:
    """For a processor. Raises KeyringError, ContextsError: this process is set up wrongly."""
    settings = CredentialSettings()
    contexts = Contexts.load(settings.contexts_dir)
    async with open_custody(resources) as custody:
        entries = StatusLists(resources.redis, custody, settings.public_url)
        yield Issuance(custody, entries, contexts, settings)


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_issuance)
