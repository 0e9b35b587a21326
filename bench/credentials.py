"""Issuing and verifying, set beside what the crypto library can do, and whether it keeps anybody
waiting.

    python -m bench.credentials [--seconds 2] [--issues 1000] [--json FILE]

Rates are of one core. "raw" signs or verifies 600 bytes with the library and nothing else; "issue"
and "verify" are what a job does between its claim and its ending, without Redis. "through the
queue" is everything but the submission: Redis and one worker process, on the cores there are.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench.server import serving
from bench.usage import spread
from consumers.custody import SigningKey
from consumers.processors.vc_issuance import Issuance, Occasion
from credentials import did_key, keys
from credentials.contexts import Contexts
from credentials.resolver import Resolver
from credentials.settings import CredentialSettings
from credentials.verify import Verifier
from credstream.process import Command, end, spawn
from schemas.queues.vc_issuance import SPEC, VcIssuance
from streams import NewJob, Queue, connect

PORT = 38_917
PROBE_GAP_S = 0.01
IDLE_PROBES = 500
CHUNK = 20
"""Calls between two looks at the clock."""
BODY = bytes(600)
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
TENANT = {"organizationId": "org-123", "userId": "user-456"}
CLAIMS = {"degree": "Bachelor of Science", "major": "Computer Science", "graduationYear": 2024}
HASHES: dict[str, hashes.HashAlgorithm] = {
    "P-256": hashes.SHA256(),
    "P-384": hashes.SHA384(),
    "secp256k1": hashes.SHA256(),
}


def data(did: str) -> dict[str, Any]:
    """The job that is measured: the one of the README."""
    return {
        "issuerDid": did,
        "subjectDid": SUBJECT,
        "credentialType": "UniversityDegreeCredential",
        "claims": CLAIMS,
        **TENANT,
    }


@dataclass(frozen=True)
class Holder:
    """One key, always at hand."""

    key: SigningKey

    async def signing_key(self, _did: str, _organization_id: str) -> SigningKey:
        """The key."""
        return self.key

    async def assign(self, *_: Any) -> NoReturn:
        """Nothing here asks for a status."""
        raise NotImplementedError


async def per_second(call: Callable[[], Awaitable[Any]], seconds: float) -> float:
    """How often `call` can be awaited in a second, one after the other."""
    await call()
    started, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - started) < seconds:
        for _ in range(CHUNK):
            await call()
        count += CHUNK
    return count / spent


def raw(kind: keys.KeyType, private: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Signing and verifying with the library alone, deterministic as the product signs."""
    public = private.public_key()
    if kind == "Ed25519":
        made = private.sign(BODY)
        return lambda: private.sign(BODY), lambda: public.verify(made, BODY)
    how = ec.ECDSA(HASHES[kind], deterministic_signing=True)
    made = private.sign(BODY, how)
    return lambda: private.sign(BODY, how), lambda: public.verify(made, BODY, how)


def awaited(call: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    """The same call for `per_second`: the loop costs both sides the same."""

    async def asynchronous() -> Any:
        return call()

    return asynchronous


async def _never(*_: Any) -> NoReturn:
    raise NotImplementedError


async def rates(kind: keys.KeyType, seconds: float) -> dict[str, float]:
    """What one core does in a second for one type of key."""
    key = keys.generate(kind)
    public = keys.public_jwk(key)
    did = did_key.encode(public)
    lent = SigningKey(did_key.verification_method(did), key, keys.algorithm_of(public))
    holder = Holder(lent)
    issuance = Issuance(holder, holder, Contexts.load(), CredentialSettings())
    verifier = Verifier(Resolver().resolve, _never, clock=time.time)
    occasion = Occasion(
        datetime.fromtimestamp(int(time.time()), UTC), lambda _: "urn:uuid:0", ("bench",)
    )

    async def issue() -> dict[str, Any]:
        return await issuance.issue(VcIssuance.model_validate(data(did)), occasion)

    token = (await issue())["vcJwt"]

    async def verify() -> None:
        verdict = await verifier.verify(token)
        assert verdict.valid, verdict

    sign_raw, verify_raw = raw(kind, key.private_key)
    return {
        "raw_sign_per_s": await per_second(awaited(sign_raw), seconds),
        "issue_per_s": await per_second(issue, seconds),
        "raw_verify_per_s": await per_second(awaited(verify_raw), seconds),
        "verify_per_s": await per_second(verify, seconds),
    }


@asynccontextmanager
async def running(*words: str, env: dict[str, str]) -> AsyncIterator[None]:
    """A process of the product, for the length of the block."""
    process = await spawn(Command(argv=[sys.executable, "-m", "credstream", *words], env=env))
    try:
        yield
    finally:
        await end(process, grace_s=30)


async def probe(session: aiohttp.ClientSession, until: asyncio.Event, most: int) -> list[float]:
    """Milliseconds that `GET /queue/stats` takes, every 10 ms until told or `most` times."""
    samples: list[float] = []
    while not until.is_set() and len(samples) < most:
        before = time.perf_counter()
        async with session.get("/queue/stats") as response:
            await response.read()
        samples.append((time.perf_counter() - before) * 1_000)
        await asyncio.sleep(PROBE_GAP_S)
    return samples


async def completed(session: aiohttp.ClientSession, queue: str, job: str) -> Any:
    """The result of a job, once it has one."""
    while True:
        async with session.get(f"/queue/{queue}/job/{job}") as response:
            view = (await response.json())["data"]
        if view["state"] in ("completed", "failed"):
            assert view["state"] == "completed", view
            return view["returnvalue"]
        await asyncio.sleep(PROBE_GAP_S)


async def submit(session: aiohttp.ClientSession, queue: str, payload: dict[str, Any]) -> str:
    """Add a job; its id."""
    async with session.post(f"/queue/{queue}/jobs", json={"data": payload}) as response:
        answer = await response.json()
        assert response.status in (200, 201, 202), answer
        return str(answer["data"]["id"])


async def _ready(session: aiohttp.ClientSession) -> None:
    while True:
        try:
            async with session.get("/readyz") as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.05)


async def under_load(socket: Path, issues: int) -> dict[str, float]:
    """The gateway's latency when idle, and while `issues` credentials are asked for at once."""
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as folder:
        env = {"REDIS_URL": f"unix://{socket}", "DATA_DIR": folder, "HOST": "127.0.0.1"}
        env |= {"PORT": str(PORT), "LOG_LEVEL": "warning"}
        queues = ("--queues", "did-operations,vc-issuance", "--concurrency", str(issues))
        connector = aiohttp.TCPConnector(limit=0)
        base = f"http://127.0.0.1:{PORT}"
        async with (
            running("gateway", env=env),
            running("worker", *queues, env=env),
            aiohttp.ClientSession(base, connector=connector) as session,
        ):
            await _ready(session)
            made = await submit(
                session,
                "did-operations",
                {"operation": "create", "didMethod": "key", **TENANT},
            )
            did = (await completed(session, "did-operations", made))["did"]
            await completed(session, "vc-issuance", await submit(session, "vc-issuance", data(did)))
            idle = spread(await probe(session, asyncio.Event(), IDLE_PROBES))
            seen: list[float] = []
            spent_s, bursts = 0.0, 0
            while len(seen) < IDLE_PROBES:
                spent_s += await _burst(session, socket, [data(did)] * issues, seen)
                bursts += 1
            busy = spread(seen)
            return {
                "issued_per_s": issues * bursts / spent_s,
                "idle_p50_ms": idle["p50_ms"],
                "idle_p99_ms": idle["p99_ms"],
                "busy_p50_ms": busy["p50_ms"],
                "busy_p99_ms": busy["p99_ms"],
            }


async def _burst(
    session: aiohttp.ClientSession, socket: Path, payloads: list[Any], seen: list[float]
) -> float:
    """All jobs become active at the same time; their submission is no part of what is measured.
    Adds the latencies to `seen` and answers the seconds it took."""
    done = asyncio.Event()
    redis = connect(f"unix://{socket}")
    try:
        started = time.perf_counter()
        await Queue(SPEC, redis).add_many([NewJob(data=payload) for payload in payloads])
        probing = asyncio.create_task(probe(session, done, sys.maxsize))
        while await _left(session):
            await asyncio.sleep(PROBE_GAP_S)
        spent_s = time.perf_counter() - started
    finally:
        done.set()
        await redis.close()
    seen += await probing
    return spent_s


async def _left(session: aiohttp.ClientSession) -> int:
    async with session.get("/queue/stats") as response:
        queues = (await response.json())["data"]
    (mine,) = [queue for queue in queues if queue["name"] == "vc-issuance"]
    return int(mine["waiting"]) + int(mine["active"])


def table(measured: dict[str, dict[str, float]]) -> str:
    """A line for each type of key."""
    head = f"{'per core and second':<22}{'raw sign':>10}{'issue':>10}{'ratio':>8}"
    lines = [head + f"{'raw verify':>13}{'verify':>10}{'ratio':>8}"]
    for kind, rate in measured.items():
        signing, issuing = rate["raw_sign_per_s"], rate["issue_per_s"]
        checking, verifying = rate["raw_verify_per_s"], rate["verify_per_s"]
        lines.append(
            f"{kind:<22}{signing:>10,.0f}{issuing:>10,.0f}{issuing / signing:>8.2f}"
            f"{checking:>13,.0f}{verifying:>10,.0f}{verifying / checking:>8.2f}"
        )
    return "\n".join(lines)


def load_lines(load: dict[str, float], issues: int) -> str:
    """The latencies, and their ratio beside its target."""
    ratio = load["busy_p99_ms"] / load["idle_p99_ms"]
    verdict = "ok" if ratio < 2 else "not reached"
    return (
        f"{issues:,} issues at once on {os.cpu_count()} cores: {load['issued_per_s']:,.0f}/s "
        "through the queue, by one worker\n"
        f"gateway, GET /queue/stats: idle p50 {load['idle_p50_ms']:.1f} p99 "
        f"{load['idle_p99_ms']:.1f} ms; meanwhile p50 {load['busy_p50_ms']:.1f} p99 "
        f"{load['busy_p99_ms']:.1f} ms; p99 {ratio:.2f} x (target < 2 x: {verdict})"
    )


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description="Issuing and verifying, per core.")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each rate")
    parser.add_argument("--issues", type=int, default=1_000)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    measured: dict[str, dict[str, float]] = {}
    for kind in keys.KEY_TYPES:
        measured[kind] = asyncio.run(rates(kind, wanted.seconds))
    print(table(measured), flush=True)
    with serving("valkey") as socket:
        load = asyncio.run(under_load(socket, wanted.issues))
    print(load_lines(load, wanted.issues))
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"rates": measured, "load": load}, indent=2))


if __name__ == "__main__":
    main()
