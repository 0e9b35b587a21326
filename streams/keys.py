"""Every key is spelled here and nowhere else.

All keys of a queue share one hash tag, so that a script over them lives in one Cluster slot.
The tag is a parameter: it is the queue's name today and may become one of several partitions.
"""

import hashlib
from collections.abc import Mapping

SUSPECTS = 11
LANES = range(-1, SUSPECTS + 1)
"""Lane numbers: -1 is `back` (served first), 0..10 the priorities, 11 `suspects`, jobs whose worker
died."""
GROUP = "workers"
CATALOGUE = "cs:queues"
PROBE = "cs:probe"

_NAMES = {
    "lanes": "lanes",
    "jobs": "jobs",
    "delayed": "delayed",
    "delayed_jobs": "delayed:jobs",
    "parked": "parked",
    "gates": "gates",
    "blobs": "blobs",
    "run": "run",
    "completed": "completed",
    "dead": "dead",
    "expiry_completed": "expiry:completed",
    "expiry_dead": "expiry:dead",
    "gone": "gone",
    "gone_jobs": "gone:jobs",
    "outbox": "outbox",
    "events": "events",
    "meta": "meta",
    "limit": "limit",
    "wake": "wake",
    "cancel": "cancel",
    "workers": "workers",
    "beats": "beats",
    "minutes": "minutes",
    "audit": "audit",
    "idem": "idem",
    "marker": "marker",
}


def lane_name(lane: int) -> str:
    return {-1: "back", SUSPECTS: "suspects"}.get(lane, f"p{lane}")


class Keys:
    """Keys in one Cluster slot, by the names that script headers use.

    `prefix` ends with the hash tag (and whatever follows it), `names` are name -> suffix.
    """

    __slots__ = ("by_name", "prefix")

    def __init__(self, prefix: str, names: Mapping[str, str]) -> None:
        self.prefix = prefix
        self.by_name: Mapping[str, bytes] = {
            name: f"{prefix}{suffix}".encode() for name, suffix in names.items()
        }

    def select(self, names: tuple[str, ...]) -> tuple[bytes, ...]:
        """The keys a script declares, in its order."""
        return tuple(self.by_name[name] for name in names)

    def __getitem__(self, name: str) -> bytes:
        return self.by_name[name]


class QueueKeys(Keys):
    """The keys of one queue. In the header of a script `@lanes` is the twelve lanes, and `@rest`,
    as the last word, every key that has a name and is not named before."""

    __slots__ = ("_selected", "tag")

    def __init__(self, tag: str) -> None:
        super().__init__(f"cs:{{{tag}}}:", _NAMES)
        self.tag = tag
        self._selected: dict[tuple[str, ...], tuple[bytes, ...]] = {}

    def lane(self, lane: int) -> bytes:
        return f"{self.prefix}{lane_name(lane)}".encode()

    def under(self, name: str) -> "QueueKeys":
        """The same, with `idem` the record of one submission."""
        keys = QueueKeys(self.tag)
        keys.by_name = {**self.by_name, "idem": f"{self.prefix}idem:{name}".encode()}
        return keys

    def select(self, names: tuple[str, ...]) -> tuple[bytes, ...]:
        """The keys a script declares, in its order; the same few lists are asked for every time."""
        if (found := self._selected.get(names)) is None:
            keys: list[bytes] = []
            for name in names:
                if name == "@lanes":
                    keys.extend(self.lane(lane) for lane in LANES)
                elif name == "@rest":
                    keys.extend(key for other, key in self.by_name.items() if other not in names)
                else:
                    keys.append(self.by_name[name])
            found = self._selected[names] = tuple(keys)
        return found


VAULTS = "cs:vault:{*"
"""The pattern that finds every record of the vault."""
WEBHOOK_SECRETS = "cs:dest:{*}:secret"
"""The same for the keys that sign webhooks."""


def vault(did: str) -> str:
    """The sealed private keys of one DID."""
    return f"cs:vault:{{{did}}}"


class DidKeys(Keys):
    """A hosted DID: its record, what one change of it made, and its sealed keys, which lie in the
    same slot because their tag is the same."""

    def __init__(self, did: str, origin: str = "") -> None:
        """`origin`: a hash of who asked for the change."""
        super().__init__(f"cs:did:{{{did}}}", {"did": "", "made": f":made:{origin}"})
        self.by_name = {**self.by_name, "vault": vault(did).encode()}


def hosted(organization_id: str) -> str:
    """The tenant's hosted DIDs: a sorted set of names, all with the score 0."""
    digest = hashlib.sha256(organization_id.encode()).hexdigest()[:32]
    return f"cs:dids:{{{digest}}}"


def mail(tenant: str) -> Keys:
    """The suppression list of one organization, by `streams.mail.tenant` of its id."""
    names = {"ends": "ends", "entries": "entries", "audit": "audit"}
    return Keys(f"cs:mail:{{{tenant}}}:", names)


def page_cursors() -> Keys:
    """What seals places in lists of jobs."""
    return Keys("cs:{cursors}:", {"secret": "secret"})


def mail_links() -> Keys:
    """What signs the unsubscribe links of every organization."""
    return Keys("cs:mail:{links}:", {"secret": "secret"})


def upkeep() -> Keys:
    """The index of schedulers: queues by when they are due (epoch ms), and what was announced of
    them (JSON)."""
    return Keys("cs:{upkeep}:", {"due": "due", "specs": "specs"})


_DESTINATION = {
    "about": "about",
    "leases": "leases",
    "rate": "rate",
    "since": "since",
    "window": "window",
    "history": "history",
    "secret": "secret",
    "settings": "settings",
    "audit": "audit",
}


def destination_id(organization_id: str, origin: str) -> str:
    """32 hex digits for a tenant's destination; origin "" stands for the tenant itself."""
    # The length separates the two: no other pair reads the same.
    named = f"{len(organization_id)}:{organization_id}{origin}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def destination(identifier: str) -> Keys:
    """What is known of a destination of webhooks: limits, circuit breaker, signing keys."""
    return Keys(f"cs:dest:{{{identifier}}}:", _DESTINATION)


def destinations(organization_id: str) -> str:
    """The tenant's destinations: a zset origin -> when it was last written down (epoch ms)."""
    return f"cs:dests:{{{destination_id(organization_id, '')}}}"


def all_events() -> Keys:
    """The events of all queues in one stream, and how far each queue has been brought into it.
    No queue is called `*`, so this slot is nobody else's."""
    return Keys("cs:{*}:", {"events": "events", "cursors": "cursors"})


def status_list(pool: str, name: str = "", revocation: str = "") -> Keys:
    """An issuer's pool of status lists, and in it one list; `revoked` is the bits of another one,
    that of revocations."""
    names = {
        "pool": "pool",
        "lists": "lists",
        "audit": "audit",
        "list": name,
        "used": f"{name}:used",
        "bits": f"{name}:bits",
        "signed": f"{name}:signed",
        "revoked": f"{revocation or name}:bits",
    }
    return Keys(f"cs:status:{{{pool}}}:", names)


STATUS_POOLS = b"cs:status:{*}:pool"
"""The lists that are open in every pool, for a walk."""


def credential(identifier: str) -> Keys:
    """Where the status of one credential lies. Its id, a URL of any length, is hashed."""
    digest = hashlib.sha256(identifier.encode()).hexdigest()[:32]
    return Keys(f"cs:credential:{digest}", {"credential": ""})


BATCHES = "cs:batch:"
"""How the keys of all batches begin, whatever their queue."""


def batch(ref: str) -> Keys:
    """What is known of a batch of jobs as a whole, by its id inside Redis."""
    return Keys(f"{BATCHES}{{{ref}}}", {"batch": ""})


def answer(digest: str) -> Keys:
    """What a request under an idempotency key was answered."""
    return Keys(f"cs:idem:{{{digest}}}", {"answer": ""})


def access(key_id: str = "") -> Keys:
    """API keys lie in one slot: one of them, the index of all, the deeds of those who make them."""
    names = {"key": f"id:{key_id}", "index": "index", "audit": "audit"}
    return Keys("cs:keys:{keys}:", names)


def quota(whose: str) -> Keys:
    """What somebody has used of the quota of requests. The name is hashed by the caller."""
    return Keys(f"cs:quota:{{{whose}}}", {"quota": ""})


def audits() -> Keys:
    """The names of all streams of deeds: a zset by when somebody who writes entered it last."""
    return Keys("cs:audits", {"index": ""})


def canary(queue: str, canary_id: str) -> Keys:
    """A share of a queue's dead letters that was sent first."""
    at = f"canary:{canary_id}"
    return Keys(f"cs:{{{queue}}}:", {"canary": at, "lease": f"{at}:lease"})


def canaries() -> Keys:
    """Those that go on by themselves when they have passed."""
    return Keys("cs:{canaries}", {"canaries": ""})


def session(digest: str) -> Keys:
    """Somebody who signed in, by the SHA-256 of the session's id."""
    return Keys(f"cs:session:{{{digest}}}", {"session": ""})


def gateways() -> Keys:
    """What gateways have noticed and operators should know."""
    return Keys("cs:{gateways}:", {"forwarded": "forwarded"})
