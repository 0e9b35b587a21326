"""Destinations of webhooks: leases, rate, circuit breaker, switches and limits, signing keys.

A destination is an origin of one organization's. All of it lies under one hash tag, so that each
change is one script. Times are the clock of Redis (requirements WH-5..WH-7, WH-14, WH-18,
WH-25..WH-27).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from schemas.spec import DAY_MS, Limiter
from streams import keys
from streams.connection import Redis
from streams.store import change

Outcome = Literal["success", "failure", "neutral", "gone"]
FORGET_MS = 30 * DAY_MS
_STALE_A_CALL = 10
_ADMITTING = ("patience_ms", "open_ms", "forget_ms")
_SETTLING = ("window_ms", "requests", "percent", "open_ms", "openings", "forget_ms")


class Destination(NamedTuple):
    """Whose, and where: `scheme://host[:port]`. An origin of "" stands for the organization."""

    organization_id: str
    origin: str

    @property
    def id(self) -> str:
        return keys.destination_id(self.organization_id, self.origin)

    @property
    def keys(self) -> keys.Keys:
        return keys.destination(self.id)


@dataclass(frozen=True, slots=True)
class Rules:
    """The installation's numbers; concurrency and rate may differ for a destination."""

    concurrency: int = 5
    """Deliveries at once (WH-25)."""
    rate: Limiter | None = None
    """Starts in any `duration` ms (WH-26); None: no limit."""
    lease_ms: int = 75_000
    """A delivery that has not settled by then is taken for dead, and its slot is free."""
    window_ms: int = 300_000
    requests: int = 10
    percent: int = 70
    """The circuit opens when of at least `requests` in `window_ms` so many failed (WH-27)."""
    open_ms: int = 30_000
    openings: int = 10
    """Openings in a row after which the destination is disabled."""
    patience_ms: int = DAY_MS
    """How long a job waits for an open circuit before it has failed."""
    forget_ms: int = FORGET_MS
    """A destination that nobody has set or disabled is forgotten after so long without use."""

    def limits(self) -> dict[str, Any]:
        """What holds for a destination without limits of its own, as scripts take it."""
        rate = self.rate or Limiter(0, 0)
        return {
            "lease_ms": self.lease_ms,
            "limit": self.concurrency,
            "rate_max": rate.max,
            "rate_ms": rate.duration,
        }


class Ended(NamedTuple):
    """How a delivery ended. `success` and `failure` speak about the destination, `neutral` does
    not, `gone` disables it. Other jobs stay away for `defer_ms` (WH-18). `who` is the deed to
    record should this disable the destination."""

    outcome: Outcome
    defer_ms: int = 0
    who: bytes = b""


class Granted(NamedTuple):
    """The delivery may start."""


class Later(NamedTuple):
    """Wait: `retry_after`, `circuit_open`, `circuit_half_open`, `concurrency` or `rate`."""

    after_ms: int
    """The longest wait: then the job asks again by itself."""
    look_ms: int
    """There is no room before."""
    reason: str


class Never(NamedTuple):
    """`destination_disabled` or `destination_unavailable` (waited too long for its circuit).
    `detail`: why it is disabled, `gone`, `failing` or `operator`."""

    reason: str
    detail: str


class Settled(NamedTuple):
    """`counted` is False when the lease was settled before, or had run out. `became`: `opened`,
    `closed`, `disabled` or ""."""

    counted: bool
    became: str
    why: str
    room: int
    """Parked jobs that may come; their places are kept for them."""


@dataclass(frozen=True, slots=True)
class Known:
    """A destination as operators see it. Limits are its own; None: the installation's hold."""

    destination: Destination
    state: str
    """`closed`, `open`, `half_open` or `disabled`."""
    reason: str | None
    running: int
    numbers: Mapping[str, int]
    """success, failure, neutral, gone, deferred, openings; last_*, seen, until, not_before (epoch
    ms); limit, rate_max, rate_ms; those that are known."""


async def admit(
    redis: Redis, to: Destination, job_id: str, lease: str, rules: Rules, *, returns: bool = False
) -> Granted | Later | Never:
    """A lease, called `<job> <random>`, that replaces what a dead worker left to the job.
    `returns`: the job was put off before, so that it may have a place that was kept for it."""
    reply = await change(
        redis,
        to.keys,
        "dest_admit",
        org=to.organization_id,
        origin=to.origin,
        job=job_id,
        lease=lease,
        returns=int(returns),
        **rules.limits(),
        **{name: getattr(rules, name) for name in _ADMITTING},
    )
    if reply[0] == b"DEFER":
        return Later(int(reply[1]), int(reply[2]), reply[3].decode())
    if reply[0] == b"DISABLED":
        return Never(reply[1].decode(), reply[2].decode())
    return Granted()


async def settle(redis: Redis, to: Destination, lease: str, ended: Ended, rules: Rules) -> Settled:
    """Free a lease and count its outcome. Safe to send again."""
    reply = await change(
        redis,
        to.keys,
        "dest_settle",
        lease=lease,
        outcome=ended.outcome,
        defer_ms=ended.defer_ms,
        **rules.limits(),
        **{name: getattr(rules, name) for name in _SETTLING},
        who=ended.who,
    )
    return Settled(reply[0] == b"OK", reply[1].decode(), reply[2].decode(), int(reply[3]))


async def write_down(redis: Redis, to: Destination, forget_ms: int) -> None:
    """Enter a destination into its organization's list; some of the forgotten ones leave it."""
    key = keys.destinations(to.organization_id)
    now_ms = await clock_ms(redis, to.keys)
    oldest = f"({now_ms - forget_ms}"
    _, old = await redis.run(
        key,
        (b"ZADD", key, b"GT", now_ms, to.origin),
        (b"ZRANGEBYSCORE", key, b"-inf", oldest, b"LIMIT", 0, _STALE_A_CALL),
    )
    for origin in old:
        about = Destination(to.organization_id, origin.decode()).keys["about"]
        if not await redis.command(b"EXISTS", about, key=about.decode()):
            await redis.command(b"ZREM", key, origin, key=key)


async def listed(
    redis: Redis, organization_id: str, start: int = 0, most: int = 200
) -> list[Known]:
    """Destinations of an organization, the most recently used first."""
    key = keys.destinations(organization_id)
    found = await redis.command(b"ZREVRANGE", key, start, start + most - 1, key=key)
    rows = [await find(redis, Destination(organization_id, o.decode()).id) for o in found]
    return [row for row in rows if row is not None]


async def find(redis: Redis, identifier: str) -> Known | None:
    """One destination by its id."""
    at = keys.destination(identifier)
    now_ms = await clock_ms(redis, at)
    flat, running = await redis.run(
        at.prefix,
        (b"HGETALL", at["about"]),
        (b"ZCOUNT", at["leases"], f"({now_ms}", b"+inf"),
    )
    about = _pairs(flat)
    if "origin" not in about:
        return None
    to = Destination(about.pop("org"), about.pop("origin"))
    state, reason = about.pop("state", "closed"), about.pop("reason", None)
    if state == "open" and int(about["until"]) <= now_ms:
        state = "half_open"
    for internal in ("probe", "parked", "promised", "promised_until", "kept"):
        about.pop(internal, None)
    numbers = {name: int(value) for name, value in about.items()}
    return Known(to, state, reason, running, numbers)


def _pairs(flat: list[bytes]) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in zip(flat[::2], flat[1::2], strict=True)}


async def history(redis: Redis, identifier: str) -> list[dict[str, Any]]:
    """What happened to a destination's circuit, newest first: `{at, event, reason}`."""
    at = keys.destination(identifier)
    found = await redis.command(b"XREVRANGE", at["history"], b"+", b"-", key=at.prefix)
    return [
        {"at": int(entry.split(b"-")[0]), "event": flat[1].decode(), "reason": flat[3].decode()}
        for entry, flat in found
    ]


async def switch(redis: Redis, to: Destination, *, enabled: bool, who: bytes) -> bool:
    """Enable or disable; False when it is unknown. Enabling forgets what it is blamed for."""
    reply = await change(
        redis,
        to.keys,
        "dest_switch",
        to="enabled" if enabled else "disabled",
        who=who,
        forget_ms=FORGET_MS,
    )
    return bool(reply[0] != b"MISSING")


async def limit(
    redis: Redis, to: Destination, concurrency: int | None, rate: Limiter | None, *, who: bytes
) -> bool:
    """Give a destination limits of its own; None: the installation's. False when unknown."""
    reply = await change(
        redis,
        to.keys,
        "dest_limits",
        limit=concurrency or "",
        rate_max=rate.max if rate else "",
        rate_ms=rate.duration if rate else "",
        who=who,
        forget_ms=FORGET_MS,
    )
    return bool(reply[0] != b"MISSING")


async def announce(redis: Redis, queue: str, to: Destination, became: str, why: str) -> None:
    """Tell whoever listens to the events of a queue; `history` is the record."""
    at = keys.QueueKeys(queue)
    entry = (b"e", f"destination-{became}", b"i", b"", b"destination", to.id, b"reason", why)
    trim = (b"MAXLEN", b"~", 2_000)
    await redis.command(b"XADD", at["events"], *trim, b"*", *entry, key=at.prefix)


async def record(redis: Redis, at: keys.Keys, who: bytes) -> None:
    """A deed that has no single script: it is written down before its first effect."""
    await change(redis, at, "dest_deed", who=who, nonce=secrets.token_hex(8))


async def clock_ms(redis: Redis, at: keys.Keys) -> int:
    """Epoch milliseconds by the clock of the node that has these keys."""
    seconds, micros = await redis.command(b"TIME", key=at.prefix)
    return int(seconds) * 1_000 + int(micros) // 1_000
