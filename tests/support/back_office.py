"""What the pages beside the queues show: destinations, suppressions, DIDs, credentials, workers."""

import base64
import secrets
from pathlib import Path
from typing import Any

import orjson
from by_hand import Hand

from consumers.custody import Custody
from consumers.hosting import Hosting
from consumers.status_lists import StatusLists
from credentials.keyring import Keyring
from schemas.queues.did_operations import DidOperation
from schemas.spec import catalog
from schemas.status import PURPOSES
from streams import Queue, Redis, dids, mail
from streams import destinations as store
from streams.audit import Deed
from streams.claims import Ending
from streams.destinations import Destination, Ended
from streams.keys import QueueKeys

ORG = "acme-energy"
URL = "https://hooks.acme-energy.example/in"
ORIGIN = "https://hooks.acme-energy.example"
CREDENTIAL = "urn:uuid:6f0f4f63-2c39-5d2b-9c0e-6c1f1d0a7c55"
EML = """From: Credstream <no-reply@example.org>
To: student@example.com
Return-Path: <bounces@example.org>
Delivered-To: student@example.com
Subject: {subject}
Date: Tue, 24 Nov 2026 08:00:00 +0000
Message-ID: <1@example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

{text}
"""


async def deliver(redis: Redis, organization: str, origin: str, *outcomes: str) -> Destination:
    """A destination and what became of deliveries to it."""
    to, rules = Destination(organization, origin), store.Rules()
    who = Deed("credstream", "destination.disable", to.id, organization).encode()
    await store.write_down(redis, to, rules.forget_ms)
    for n, outcome in enumerate(outcomes):
        lease = f"{outcome}-{n}"
        await store.admit(redis, to, f"job-{n}", lease, rules)
        await store.settle(redis, to, lease, Ended(outcome, who=who), rules)  # type: ignore[arg-type]
    return to


async def try_webhooks(redis: Redis, organization: str, url: str, event: str = "x.done") -> None:
    """Three jobs for a destination: delivered, given up, to be tried again."""
    spec = catalog()["webhooks"]
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    data = {"url": url, "method": "POST", "payload": {"id": "1"}, "event": event}
    ways = (("complete", "success", 200), ("fail", "failed", 503), ("retry", "retry", 503))
    for n, (kind, outcome, status) in enumerate(ways):
        await queue.add("webhooks", data | {"organizationId": organization}, job_id=f"hook-{n}")
        claim = await hand.take_one()
        record = {
            "number": 1,
            "started": claim.job.claimed_ms,
            "durationMs": 48 + n,
            "outcome": outcome,
            "code": f"http_{status}",
            "status": status,
            "operator": {"address": "192.0.2.7"},
        }
        await hand.claims.attempt(claim, record)
        item = {"attempt": 1, "reason": "failed", "message": "HTTP 503", "code": "http_503"}
        history = orjson.dumps([item | {"at": claim.job.claimed_ms}])
        delay = {"delay_ms": 60_000} if kind == "retry" else {}
        result = {} if kind != "complete" else {"result": b'{"status":200}'}
        more: Any = result or {"history": history, **delay}
        await hand.settle(Ending(claim, kind, **more))


def custody_of(redis: Redis) -> Custody:
    ring = Keyring.parse(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")
    return Custody(redis, ring)


async def host_did(redis: Redis, organization: str, path: str) -> str:
    """A did:web with a second key."""
    hosting = Hosting(custody_of(redis))
    who = {"didMethod": "web", "organizationId": organization, "userId": "u"}
    made = await hosting.create(
        DidOperation.model_validate({"operation": "create", "metadata": {"path": path}, **who}),
        ("make", path),
    )
    did: str = made["did"]
    change = {"operation": "update", "did": did, "metadata": {"addKeys": [{"keyType": "P-256"}]}}
    await hosting.update(DidOperation.model_validate({**change, **who}), ("change", path))
    return did


async def issue(redis: Redis, organization: str, credential_id: str = CREDENTIAL) -> None:
    """A credential that has a status."""
    custody = custody_of(redis)
    lists = StatusLists(redis, custody, "http://localhost:3000", ttl_ms=90_000)
    issuer = await custody.create_did_key(("made", credential_id), organization)
    await lists.assign(credential_id, issuer, organization, PURPOSES, (credential_id,))


async def appear(redis: Redis, queue: str, name: str, now_ms: int, **said: Any) -> None:
    """A worker that said this at that time."""
    at = QueueKeys(queue)
    beat = f"{now_ms}:".encode() + orjson.dumps(said)
    await redis.command(b"HSET", at["workers"], name, beat, key=at.prefix)


async def suppress(redis: Redis, organization: str, address: str, reason: str, days: int) -> str:
    """An address on the list; answers the id of its entry."""
    entry = mail.address_id(organization, address)
    where = mail.tenant(organization)
    await mail.suppress(redis, where, entry, reason, duration_ms=days * 24 * 3_600_000, who=b"")
    return entry


def capture(folder: Path, subject: str, text: str) -> str:
    """A captured message below DATA_DIR; answers its id."""
    mail_id = "1795500000000-" + "a" * 32
    (folder / "mail").mkdir(parents=True, exist_ok=True)
    message = EML.format(subject=subject, text=text).replace("\n", "\r\n")
    (folder / "mail" / f"{mail_id}.eml").write_bytes(message.encode())
    return mail_id


async def tombstone(redis: Redis, organization: str, path: str) -> str:
    """A did:web that was deactivated."""
    did = await host_did(redis, organization, path)
    await dids.deactivate(redis, dids.Change(did, organization, ("end", path), "{}"))
    return did
