"""vc-issuance: sign a credential with the issuer's key.

Idempotent: id, time and signature all follow from the job, so however often it runs it gives the
same credential, byte for byte. What does not follow from it, places in status lists and the time of
a delayed job, is remembered for it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from consumers.custody import SigningKey, open_custody
from consumers.processor import Context, Processor, Reject, Resources
from consumers.status_lists import StatusLists
from credentials import did_key, vc
from credentials.contexts import UNDEFINED_TERMS, Contexts
from credentials.errors import CredentialError
from credentials.settings import CredentialSettings
from credentials.signer import sign
from schemas.queues.vc_issuance import SPEC, DataModel, VcIssuance
from streams import Job

ON_THE_LOOP_BYTES = 16 * 1024
"""A larger job is composed and signed in a thread, where it keeps nobody waiting."""

Json = dict[str, Any]


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
    credential_id: str
    """Unless the credential has an id of its own."""
    origin: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Issuance:
    """What it takes to issue: keys, status lists, contexts and settings."""

    keys: Keys
    entries: Entries
    contexts: Contexts = field(default_factory=Contexts.load)
    settings: CredentialSettings = field(default_factory=CredentialSettings)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Large credentials are expanded one after the other: each takes a thread that others need."""

    async def issue(self, request: VcIssuance, occasion: Occasion, *, large: bool = False) -> Json:
        """Answer `{vcJwt, credentialId, issuedAt}`. Raises CredentialError.

        Whatever can be refused is refused before a place in a status list is taken.
        """
        issuer, model = vc.issuer(request), vc.data_model(request, self.settings.vc_data_model)
        _check_did("subject_invalid", "subjectDid", request.subject_did)
        document = vc.compose(
            request, model, occasion.credential_id, occasion.issued, self._contexts_of(request)
        )
        key = await self.keys.signing_key(issuer, request.organization_id)
        await self._settle_contexts(document, model, large=large)
        if request.status is not None:
            entries = await self.entries.assign(
                document["id"], issuer, request.organization_id, request.status, occasion.origin
            )
            document["credentialStatus"] = vc.one_or_many(entries)
        arguments = (document, model, occasion.issued, key)
        token = await asyncio.to_thread(_sign, *arguments) if large else _sign(*arguments)
        issued_at = vc.rfc3339(occasion.issued)
        return {"vcJwt": token, "credentialId": document["id"], "issuedAt": issued_at}

    def _contexts_of(self, request: VcIssuance) -> list[str]:
        """What the job asks for, else what the operator chose for credentials of this type."""
        if request.contexts is not None:
            return request.contexts
        return self.contexts.of_type(request.credential_type or "")

    async def _settle_contexts(self, document: Json, model: DataModel, *, large: bool) -> None:
        """Give a meaning to every term, as data model 2.0 demands (C5); refuse what JSON-LD does
        (E9) in either."""
        undefined = None if large else self.contexts.remembered(document)
        if undefined is None:
            async with self.turn:
                undefined = await asyncio.to_thread(self.contexts.leaves_undefined, document)
        if undefined and model == "2.0":
            document["@context"] = [*document["@context"], UNDEFINED_TERMS]


def _sign(document: Json, model: DataModel, issued: datetime, key: SigningKey) -> str:
    return sign(
        vc.payload(document, model, issued),
        key.private,
        key.id,
        algorithm=key.algorithm,
        typ=vc.TYP[model],
        cty=vc.CTY[model],
    )


def _check_did(code: str, name: str, did: str | None) -> None:
    """A did:key says by itself whether it is one; other methods cannot be judged from here."""
    if did is None or not did.startswith("did:key:"):
        return
    try:
        did_key.decode(did)
    except did_key.DidError as error:
        raise CredentialError(code, f"{name} is not a did:key. {error}") from None


async def handle(job: Job, context: Context) -> Json:
    """Answer `{vcJwt, credentialId, issuedAt}`.

    Rejects, for good, with the code of the CredentialError: see docs/credentials.md.
    """
    issuance: Issuance = context.state
    large = len(job.body) > ON_THE_LOOP_BYTES or "B" in job.header.flags
    try:
        if large:
            request = await asyncio.to_thread(VcIssuance.model_validate, job.data)
        else:
            request = VcIssuance.model_validate(job.data)
        occasion = await _occasion(job, context, request)
        return await issuance.issue(request, occasion, large=large)
    except CredentialError as error:
        raise Reject(str(error), code=error.code) from None


async def _occasion(job: Job, context: Context, request: VcIssuance) -> Occasion:
    identifier = vc.credential_id(vc.issuer(request), job.queue, job.id, job.timestamp)
    issued = vc.moment(await _issued_ms(job, context))
    return Occasion(issued, identifier, (job.queue, job.id, str(job.timestamp)))


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
