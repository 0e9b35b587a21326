"""DIDs that are hosted here: created, changed and ended for the organization they are of.

Every change is one script in Redis, which also remembers what it answered. So a job that runs
again, after whatever crash, changes nothing and gets the same answer, and of changes at the same
time each is made on top of the one before.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from consumers.custody import Custody
from consumers.processor import RetryLater
from credentials import did_web, keys
from credentials.errors import CredentialError
from credentials.keys import DEFAULT_KEY_TYPE, KeyType
from credentials.publication import Publication
from schemas.queues.did_operations import DidOperation, Metadata
from streams import dids
from streams.dids import Change, HostedDid, Reply, Version

ROUNDS: Final = 100
"""How often a change is made anew because another one came first; each round, one succeeds."""
RESERVED: Final = frozenset(
    {"queue", "credentials", "presentations", "status", "dashboard", "docs", "api", "1.0", "admin"}
    | {"destinations", "mail", "events", "audit", "keys", "metrics", "livez", "readyz", "static"}
    | {"batches", "status-lists", "webhooks", "internal", "organizations", "tenants", "workers"}
    | {"queues", "jobs", "auth", "login", "logout", "me", "openapi", "openapi.json"}
)
"""First words of paths that the gateway answers, or may come to answer, itself."""

_NAMESPACE = uuid.UUID("0c4d7f0e-6a0a-5f0c-8d52-6a1f6f1b8e64")


class HostingRefused(CredentialError):
    """What cannot be done to a hosted DID: `did_web_not_configured`, `did_not_hosted`,
    `path_reserved`, `root_reserved`, `did_exists`, `did_unknown`,
    `did_deactivated` or `version_conflict`."""


@dataclass(frozen=True, slots=True)
class Hosting:
    """The hosted DIDs of this installation. Answers are results of did-operations."""

    custody: Custody

    async def create(self, request: DidOperation, origin: tuple[str, ...]) -> dict[str, Any]:
        """Publish a new did:web. Raises HostingRefused or UpdateRefused."""
        did = self._name(request, origin)
        publication = Publication(did)
        for service in request.details.services or ():
            publication = publication.with_service(_plain(service))
        draft = _Draft(self.custody, publication)
        draft.add_key(request.details.key_type or DEFAULT_KEY_TYPE, signs=True)
        new = Change(did, request.organization_id, origin, draft.result())
        await dids.write_down(self.custody.redis, request.organization_id, did)
        return _answer(await dids.create(self.custody.redis, new, draft.version()))

    async def update(self, request: DidOperation, origin: tuple[str, ...]) -> dict[str, Any]:
        """Publish the next version of a did:web. Raises HostingRefused, UpdateRefused or
        RetryLater."""
        did, details = request.target or "", request.details
        redis = self.custody.redis
        for _ in range(ROUNDS):
            known, before = await dids.look(redis, did, origin)
            if before is not None:
                return _read(before)
            current = _of_ours(known, request)
            draft = _Draft(self.custody, Publication.decode(did, current.state))
            draft.apply(details)
            new = Change(did, request.organization_id, origin, draft.result())
            reply = await dids.update(redis, new, draft.version(), expected=current.version)
            if reply.word != "CONFLICT":
                return _answer(reply)
        raise RetryLater(1_000, "this DID is being changed by many jobs at once")

    async def deactivate(self, request: DidOperation, origin: tuple[str, ...]) -> dict[str, Any]:
        """End a did:web for good and destroy its keys. Raises HostingRefused."""
        did = request.target or ""
        known, before = await dids.look(self.custody.redis, did, origin)
        if before is not None:
            return _read(before)
        _of_ours(known, request)
        result = {"did": did, "didDocument": None, "verificationMethod": None}
        new = Change(did, request.organization_id, origin, orjson.dumps(result).decode())
        expected = request.details.version
        return _answer(await dids.deactivate(self.custody.redis, new, expected=expected))

    def _name(self, request: DidOperation, origin: tuple[str, ...]) -> str:
        """The DID to create: the one asked for, or one that follows from the job."""
        domain = self.custody.settings.hosting_domain
        if domain is None:
            raise HostingRefused(
                "did_web_not_configured",
                "No did:web can be hosted: set DID_WEB_DOMAIN (or PUBLIC_URL) to a domain; an IP "
                "address cannot be in a did:web.",
            )
        wanted = request.target
        if wanted is None:
            path = request.details.path or str(uuid.uuid5(_NAMESPACE, "\n".join(origin)))
            wanted = did_web.join(domain, *(part for part in path.split("/") if part))
        theirs, segments = did_web.split(wanted)
        if theirs != domain:
            raise HostingRefused(
                "did_not_hosted", f"Only DIDs under did:web:{domain} are hosted here."
            )
        self._check_path(segments, request.organization_id)
        return wanted

    def _check_path(self, segments: tuple[str, ...], organization_id: str) -> None:
        root = self.custody.settings.did_web_root_organization
        if not segments and root not in (None, organization_id):
            raise HostingRefused(
                "root_reserved", "The DID of the domain itself is kept for another organization."
            )
        if segments and (segments[0].lower() in RESERVED or segments[0].startswith(".")):
            raise HostingRefused(
                "path_reserved", f"The path {segments[0]} is used by the service itself."
            )
        if len(segments) > 8 or not all(part.isascii() and "%" not in part for part in segments):
            raise HostingRefused(
                "did_not_hosted",
                "A hosted DID has at most 8 path segments of letters, digits, dots, - and _.",
            )


class _Draft:
    """The next version of a DID while it is put together."""

    def __init__(self, custody: Custody, publication: Publication) -> None:
        self._custody = custody
        self._publication = publication
        self._added: list[tuple[str, str]] = []
        self._removed: list[str] = []

    def apply(self, details: Metadata) -> None:
        """Everything an update asks for; what it takes away goes last, so that a rotation and
        the removal of the key before it fit into one."""
        for name in details.remove_services or ():
            self._publication = self._publication.without_service(name)
        for service in details.add_services or ():
            self._publication = self._publication.with_service(_plain(service))
        if details.sign_with is not None:
            self._publication = self._publication.signing_with(details.sign_with)
        if details.rotate:
            self.add_key(details.key_type or DEFAULT_KEY_TYPE, signs=True)
        for key in details.add_keys or ():
            self.add_key(key.key_type, signs=False)
        for name in details.remove_keys or ():
            self._publication, kid = self._publication.without_key(name)
            self._removed.append(kid)

    def add_key(self, kind: KeyType, *, signs: bool) -> None:
        """Make a key and seal it under its name."""
        private = keys.generate(kind)
        self._publication, kid = self._publication.with_key(keys.public_jwk(private), signs=signs)
        self._added.append((kid, self._custody.keyring.seal(private, kid)))

    def result(self) -> str:
        """What the job answers."""
        publication = self._publication
        result = {
            "did": publication.did,
            "didDocument": publication.document(),
            "verificationMethod": publication.key_id,
        }
        return orjson.dumps(result).decode()

    def version(self) -> Version:
        """What is stored."""
        return Version(
            state=self._publication.encode(),
            document=orjson.dumps(self._publication.document()).decode(),
            kid=self._publication.key_id,
            added=self._added,
            removed=self._removed,
        )


def _of_ours(known: HostedDid | None, request: DidOperation) -> HostedDid:
    """The record, if this request may change it. The text does not tell what is whose."""
    if known is None or known.organization_id != request.organization_id:
        raise _refusal("MISSING")
    if known.document is None:
        raise _refusal("DEACTIVATED")
    if request.details.version not in (None, known.version):
        raise HostingRefused(
            "version_conflict",
            f"The DID has version {known.version}, not {request.details.version}: look at it "
            "again and decide anew.",
        )
    return known


def _answer(reply: Reply) -> dict[str, Any]:
    if reply.word in ("OK", "ALREADY"):
        return _read(reply.result)
    raise _refusal(reply.word)


_REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "EXISTS": ("did_exists", "This DID exists already; choose another path."),
    "DEACTIVATED": ("did_deactivated", "This DID was deactivated, which is for good."),
    "MISSING": ("did_unknown", "No such DID is hosted here for this organization."),
    # The same words for both: whether another organization has a DID is not for everybody.
    "FOREIGN": ("did_unknown", "No such DID is hosted here for this organization."),
    "CONFLICT": ("version_conflict", "The DID was changed meanwhile: look at it again."),
}


def _refusal(word: str) -> HostingRefused:
    return HostingRefused(*_REFUSALS[word])


def _read(result: str) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(result)
    return answer


def _plain(service: Any) -> dict[str, Any]:
    plain: dict[str, Any] = service.model_dump(by_alias=True)
    return plain
