"""Status lists of issuers: an entry for a credential, and the list credential itself, signed.

Bitstring Status List 1.0. Revocation and suspension have lists of their own, and an index in one
says nothing about the index in the other.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumers.custody import Custody, SigningKey, open_custody
from consumers.processor import Resources
from credentials import bitstring
from credentials.errors import CredentialError
from credentials.settings import CredentialSettings
from credentials.signer import sign
from schemas.identity import publication_id
from schemas.queues.status_lists import SPEC, publication
from schemas.status import PATH, Frame, Owner, Place, Purpose, digest, is_list_id, list_url
from streams import NewJob, Queue, Redis, status

CONTEXT = "https://www.w3.org/ns/credentials/v2"


class StatusError(CredentialError):
    """`status_list_unknown`, `credential_id_taken` or `credential_revoked`."""


class StatusSettings(BaseSettings):
    """Each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    status_list_ttl_ms: int = Field(default=300_000, ge=1_000, le=86_400_000)
    """How long a verifier may keep a list, and so how late it may learn of a revocation."""


@dataclass(frozen=True, slots=True)
class StatusLists:
    """The status lists of every issuer whose keys are in `custody`."""

    redis: Redis
    custody: Custody
    public_url: str = field(default_factory=lambda: CredentialSettings().public_url)
    ttl_ms: int = field(default_factory=lambda: StatusSettings().status_list_ttl_ms)
    size: int = bitstring.MIN_BITS
    """Entries in a new list. Smaller ones are for tests: no verifier takes them."""

    async def assign(
        self,
        credential_id: str,
        issuer_did: str,
        organization_id: str,
        purposes: Sequence[Purpose],
        origin: tuple[str, ...],
    ) -> list[dict[str, Any]]:
        """The credentialStatus entries of a credential, one for each purpose, in their order.

        Random indexes that no other credential has. `origin` is what the credential is made for (a
        job): asked again, also at the same time, it gets the same ones. The lists they name are
        published when this returns. Another origin that issues the same id anew shares its
        entries, for the state belongs to the id.

        Raises StatusError `credential_id_taken` (the id is another issuer's),
        `credential_revoked` (another origin's credential of this id was revoked, which is for
        good); KeyRefused, SealError when the list cannot be signed.
        """
        owner = Owner(organization_id, issuer_did)
        record = await status.find(self.redis, credential_id, organization_id)
        if record is not None:
            await self._refuse_unless_its_own(record, owner, digest(origin))
        places = dict(record.places) if record else {}
        for purpose in purposes:
            if purpose not in places:
                places[purpose] = await self._place(credential_id, owner, purpose, digest(origin))
        states = await status.states(self.redis, {purpose: places[purpose] for purpose in purposes})
        if len(states) < len(purposes):
            raise _unknown()
        return [entry(purpose, states[purpose]) for purpose in purposes]

    async def publish(self, list_id: str, organization_id: str) -> int:
        """Sign the newest version of a list and serve it; answers the version that is served.

        Raises StatusError `status_list_unknown`; KeyRefused, SealError as `Custody.signing_key`.
        """
        found = await status.snapshot(self.redis, list_id)
        if found is None or found.owner.organization_id != organization_id:
            raise _unknown()
        if found.published >= found.version:
            return found.published
        key = await self.custody.signing_key(found.owner.issuer_did, organization_id)
        token = await asyncio.to_thread(self._sign, found, list_id, key)
        signed = status.Signed(found.version, token, self.ttl_ms)
        return await status.publish(self.redis, list_id, signed)

    async def _place(
        self, credential_id: str, owner: Owner, purpose: Purpose, origin: str
    ) -> Place:
        """Nothing is written down for a credential before its list can be read by everybody."""
        frame = Frame(self.public_url, self.size)
        place, published = await status.draw(self.redis, owner, purpose, frame)
        if not published:
            await self.publish(place.list_id, owner.organization_id)
        try:
            return await status.register(self.redis, owner, credential_id, origin, purpose, place)
        except status.Taken:
            raise _taken() from None

    async def _refuse_unless_its_own(
        self, record: status.Record, owner: Owner, origin: str
    ) -> None:
        if record.pool != owner.pool:
            raise _taken()
        if record.origin == origin:
            return
        (state,) = (
            await status.states(self.redis, {"revocation": record.places["revocation"]})
        ).values()
        if state.is_set:
            raise StatusError(
                "credential_revoked",
                "A credential of this id was revoked, which is for good: issue one of another id.",
            )

    def _sign(self, found: status.Snapshot, list_id: str, key: SigningKey) -> str:
        credential = list_credential(found, list_id, self.ttl_ms)
        return sign(credential, key.private, key.id, algorithm=key.algorithm)


def entry(purpose: Purpose, state: status.State) -> dict[str, Any]:
    """A credential's entry (I1). Its id is not the list's URL."""
    url = list_url(state.base_url, state.place.list_id)
    return {
        "id": f"{url}#{state.place.index}",
        "type": "BitstringStatusListEntry",
        "statusPurpose": purpose,
        "statusListIndex": str(state.place.index),
        "statusListCredential": url,
    }


def list_credential(found: status.Snapshot, list_id: str, ttl_ms: int) -> dict[str, Any]:
    """The payload of a list's vc+jwt (I2). A version always gives the same one.

    It has no end: a list that nobody could sign anew in time would take every credential of its
    issuer along. `ttl` says how fresh a copy must be.
    """
    url = list_url(found.base_url, list_id)
    issuer = found.owner.issuer_did
    changed = datetime.fromtimestamp(found.changed_s, UTC)
    return {
        "@context": [CONTEXT],
        "id": url,
        "type": ["VerifiableCredential", "BitstringStatusListCredential"],
        "issuer": issuer,
        "validFrom": changed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "credentialSubject": {
            "id": f"{url}#list",
            "type": "BitstringStatusList",
            "statusPurpose": found.purpose,
            "encodedList": bitstring.encode(found.bits, min_bits=found.size),
            "ttl": ttl_ms,
        },
        "iss": issuer,
        "iat": found.changed_s,
    }


def list_id_of(url: str, public_url: str) -> str | None:
    """The id of a list served here by its URL; None for every other URL."""
    base = f"{public_url}{PATH}"
    list_id = url.removeprefix(base)
    return list_id if url.startswith(base) and is_list_id(list_id) else None


def hosted_lists(redis: Redis, public_url: str) -> Callable[[str], Awaitable[str | None]]:
    """`await hosted(url)`: the list (vc+jwt) that this installation serves at `url`, read without
    asking itself over the network; None for a list that is not served here."""

    async def hosted(url: str) -> str | None:
        list_id = list_id_of(url, public_url)
        return await status.published(redis, list_id) if list_id else None

    return hosted


async def sign_again(redis: Redis, issuer_did: str, organization_id: str) -> int:
    """Have every list of an issuer signed with its current key; answers how many there are.

    For whoever removes a key from a DID: lists signed with it verify no more, and with them no
    credential. Safe to repeat.
    """
    versions = await status.renew(redis, Owner(organization_id, issuer_did))
    queue = Queue(SPEC, redis)
    for list_id, version in versions.items():
        data = publication(list_id, organization_id, version)
        job = NewJob("publish", data, ref=publication_id(list_id, version))
        await queue.add_many([job])
    return len(versions)


@asynccontextmanager
async def open_status_lists(resources: Resources) -> AsyncIterator[StatusLists]:
    """Status lists for a processor. Raises KeyringError when this process has no ring."""
    async with open_custody(resources) as custody:
        yield StatusLists(resources.redis, custody)


def _unknown() -> StatusError:
    return StatusError("status_list_unknown", "This organization has no such status list.")


def _taken() -> StatusError:
    return StatusError(
        "credential_id_taken",
        "A credential of another issuer of this organization has this id already.",
    )
