"""What routes answer whose handlers put it together themselves. `gateway.shapes` has the others.

They are closed: an answer with a member more or less is found by the fuzzer that compares what the
gateway says with its description.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from schemas.job import State, Wire
from schemas.schedules import Schedule

Json = dict[str, Any]


class FrontDoor(Wire):
    """Where to go from here."""

    service: Literal["credstream"]
    links: dict[str, str]


class Alive(Wire):
    """The process answers."""

    status: Literal["alive"]


class Ready(Wire):
    """The gateway may get traffic."""

    status: Literal["ready"]


class Durability(Wire):
    """What Redis keeps of an acknowledged job."""

    level: Literal["standard", "strict", "replicated"]
    met: bool
    troubles: list[str]


class ReadyDetails(Ready):
    """How far it is ready."""

    durability: Durability | None
    """Null: Redis could not be asked yet."""


class Scaling(Wire):
    """How many jobs of a queue want a worker now."""

    queue: str
    demand: int


class StatusEntry(Wire):
    """Where verifiers read one status of a credential."""

    status_purpose: str
    status_list_credential: str
    status_list_index: str


class CredentialStatus(Wire):
    """Whether a credential is revoked or suspended."""

    credential_id: str
    issuer: str
    organization_id: str | None
    revoked: bool
    suspended: bool
    published: bool
    """Verifiers can see it."""
    entries: list[StatusEntry]


class DestinationRate(Wire):
    """At most `max` deliveries in any `duration` milliseconds."""

    max: int
    duration: int


class DestinationLimits(Wire):
    """Limits of its own; null: those of the installation."""

    concurrency: int | None
    rate: DestinationRate | None


class DestinationCounts(Wire):
    """Deliveries by how they ended."""

    success: int
    failure: int
    neutral: int
    gone: int
    deferred: int


class WebhookDestination(Wire):
    """A destination of webhooks. Times are epoch ms."""

    id: str
    organization_id: str
    origin: str
    state: str
    reason: str | None
    running: int
    openings: int
    """How often its circuit opened in a row."""
    open_until: int | None
    not_before: int | None
    last_used_at: int | None
    last_success_at: int | None
    last_failure_at: int | None
    counts: DestinationCounts
    limits: DestinationLimits


class DestinationEvent(Wire):
    """What happened to its circuit, when (epoch ms) and why."""

    at: int
    event: str
    reason: str


class WebhookDestinationDetails(WebhookDestination):
    """The same, with what happened lately, newest first."""

    history: list[DestinationEvent]


class WebhookKey(Wire):
    """A key that signs webhooks. Times are epoch ms."""

    id: str
    kind: Literal["hmac", "ed25519"]
    public: str | None
    created_at: int
    replaced_at: int | None


class WebhookSecret(WebhookKey):
    """The same, with what only its organization may see."""

    secret: str


class WebhookKeys(Wire):
    """The keys of an organization, or of one destination of it, newest first."""

    organization_id: str
    origin: str | None
    keys: list[WebhookKey]


class WebhookSecretKeys(Wire):
    """The same, with their secrets."""

    organization_id: str
    origin: str | None
    keys: list[WebhookSecret]


class WebhookSettings(Wire):
    """What an organization has chosen about its webhooks."""

    organization_id: str
    schedule: Schedule


class Replayed(Wire):
    """Which failed deliveries run again, or would."""

    dry_run: bool
    matched: int
    replayed: int
    jobs: list[str]
    more: bool
    """There are others, or may be: call again with `cursor`."""
    cursor: str | None
    """Where to look on; null: at the beginning."""


class Batch(Wire):
    """Many jobs under one name. Times are epoch ms."""

    id: str
    queue: str
    count: int
    organization_id: str | None
    created_at: int
    expires_at: int


class BatchReceipt(Batch):
    """A batch that was submitted."""

    deduplicated: bool


class BatchCounts(Wire):
    """How many of its jobs are in which state."""

    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int
    missing: int


class BatchProgress(Batch):
    """How far a batch is."""

    counts: BatchCounts
    done: bool


class BatchItem(Wire):
    """A job of a batch that has not ended, or is not there any more."""

    index: int
    id: str
    state: State | Literal["missing"]


class BatchCompleted(BatchItem):
    """A job of a batch that has completed."""

    finished_on: int | None
    returnvalue: Any


class BatchFailed(BatchItem):
    """A job of a batch that has failed."""

    finished_on: int | None
    failed_reason: str | None
    code: str | None


class BatchResults(Wire):
    """What became of some jobs of a batch, in order."""

    id: str
    count: int
    items: list[BatchItem | BatchCompleted | BatchFailed]


class Open(BaseModel):
    """What a standard prescribes: there may be more members."""

    model_config = ConfigDict(extra="allow")


class Issued(Open):
    """A secured credential (VC API)."""

    verifiableCredential: Json | str  # noqa: N815 - its name in the VC API


class Verification(Open):
    """What became of a verification (VC API)."""

    verified: bool
    checks: list[str]
    warnings: list[Any]
    errors: list[Any]
    problemDetails: list[Json]  # noqa: N815 - its name in the VC API
