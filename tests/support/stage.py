"""A platform in the middle of its work, for the pages of the dashboard to show."""

import random
from typing import Any

import orjson
from by_hand import Hand

from schemas.job import JobOptions
from schemas.spec import Limiter, QueueSpec, catalog
from streams import NewJob, Queue, Redis
from streams.claims import Ending
from streams.keys import QueueKeys
from streams.minutes import DAY_MIN, class_of

ORGANIZATIONS = ("university-of-porto", "acme-energy", "city-of-ghent")
FAILURES: dict[str, list[tuple[str, str, int]]] = {
    "webhooks": [
        (
            "http_503",
            "HTTP 503 from https://hooks.acme-energy.example/in/{n} after 3 attempts",
            3411,
        ),
        ("TimeoutError", "no answer from https://erp.ghent.example/events within 15000 ms", 1287),
    ],
    "vc-issuance": [
        ("key_not_found", "no signing key for did:web:issuer-{n}.example in the vault", 114),
    ],
    "emails": [
        ("smtp_550", '550 5.1.1 <student{n}@alumni.example>: "user unknown"', 42),
        ("TemplateError", "template 'welcome-{n}' needs the variable 'firstName'", 9),
    ],
}
"""By queue: code, message and how many died so."""


def spec_of(name: str) -> QueueSpec:
    return catalog().get(name) or QueueSpec(name)


async def die(redis: Redis, name: str, code: str, message: str, count: int) -> None:
    """Jobs that have failed, each with a message of its own (`{n}`)."""
    spec = QueueSpec(name)
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    jobs = [NewJob(name, payload(name, n), JobOptions(priority=0)) for n in range(count)]
    await queue.add_many(jobs, checked=True)
    left = count
    while left:
        claims = await hand.take(min(left, 500))
        endings = []
        for claim in claims:
            said = message.replace("{n}", str(claim.job.data["n"]))
            item = {
                "attempt": 3,
                "reason": "failed",
                "message": said,
                "code": code,
                "started": claim.job.claimed_ms,
                "at": claim.job.claimed_ms + 180,
            }
            first = item | {
                "attempt": 1,
                "started": claim.job.claimed_ms - 4_000,
                "at": claim.job.claimed_ms - 3_790,
            }
            endings.append(Ending(claim, "fail", history=orjson.dumps([first, item])))
        await hand.settle(*endings)
        left -= len(claims)


def payload(name: str, n: int) -> dict[str, Any]:
    """What a job of this queue might carry."""
    organization = ORGANIZATIONS[n % len(ORGANIZATIONS)]
    return {
        "n": n,
        "organizationId": organization,
        "userId": f"user-{n}",
        "subjectDid": f"did:key:z6Mk{name.replace('-', '')}{n:08d}",
    }


async def fill(redis: Redis, name: str, *, done: int, waiting: int, active: int, late: int) -> None:
    """A queue with so many completed, waiting, active and delayed jobs."""
    spec = QueueSpec(name)
    queue, hand = Queue(spec, redis), Hand(redis, spec, f"{name}-7f9c-x2k4l")
    jobs = [NewJob(name, payload(name, n)) for n in range(done + active + waiting)]
    await queue.add_many(jobs, checked=True)
    left = done
    while left:
        claims = await hand.take(min(left, 500))
        await hand.complete(*claims, result={"ok": True})
        left -= len(claims)
    if active:
        await hand.take(active)
        await beat(redis, name)
    later = [NewJob(name, payload(name, n), JobOptions(delay=3_600_000)) for n in range(late)]
    await queue.add_many(later, checked=True)


async def beat(redis: Redis, name: str) -> None:
    """Its worker is alive now."""
    hand = Hand(redis, QueueSpec(name), f"{name}-7f9c-x2k4l")
    await hand.claims.heartbeat({"host": "worker-7f9c", "slots": 20, "queue": name, "running": {}})


async def past(redis: Redis, name: str, per_minute: float, wait_ms: float, seed: int) -> None:
    """A day of minutes, as workers would have counted it."""
    dice = random.Random(seed)
    at = QueueKeys(name)
    now = int((await redis.command("TIME", key=at.prefix))[0]) // 60
    flat: list[Any] = []
    for minute in range(now - DAY_MIN + 1, now + 1):
        swing = 1 + 0.5 * ((minute % 240) / 240) + dice.uniform(-0.25, 0.25)
        ended = round(per_minute * swing)
        failed = sum(dice.random() < 0.02 for _ in range(min(ended, 50)))
        counts = {"c": max(0, ended - failed), "f": failed}
        for kind, middle in (("w", wait_ms), ("d", wait_ms * 0.6)):
            for _ in range(min(ended, 40)):
                ms = dice.lognormvariate(0, 0.7) * middle * swing
                name_of_class = f"{kind}{class_of(ms)}"
                counts[name_of_class] = counts.get(name_of_class, 0) + 1
        text = " ".join(f"{key}:{count}" for key, count in counts.items() if count)
        flat += [minute % DAY_MIN, f"{minute} {text}"]
    await redis.command("HSET", at["minutes"], *flat, key=at.prefix)


async def set_stage(redis: Redis, *, share: float = 1.0) -> None:
    """Everything. `share` of the dead letters: tests need fewer than pictures."""
    rows = (
        ("vc-issuance", 640, 38, 16, 4, 118, 240),
        ("vc-verification", 900, 3, 5, 0, 240, 35),
        ("webhooks", 700, 214, 20, 61, 310, 900),
        ("emails", 320, 12, 4, 9, 42, 420),
        ("did-operations", 60, 0, 1, 0, 4, 180),
    )
    for seed, (name, done, waiting, active, late, rate, wait) in enumerate(rows):
        await past(redis, name, rate, wait, seed)
        for code, message, count in FAILURES.get(name, ()):
            await die(redis, name, code, message, max(3, round(count * share)))
        await fill(redis, name, done=done, waiting=waiting, active=active, late=late)
    for name, _, _, active, *_ in rows:
        if active:
            await beat(redis, name)
    await Queue("reports", redis).register()
    await fill(redis, "reports", done=12, waiting=27, active=0, late=0)
    await Queue("emails", redis).set_limits(Limiter(100, 1_000), None)
    await Queue("status-lists", redis).pause()
