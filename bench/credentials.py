"""Issuing and verifying, set beside what the crypto library can do, and whether it keeps anybody
waiting.

    python -m bench.credentials [--seconds 2] [--burst] [--issues 1000] [--bursts 5] [--json FILE]

Rates are of one core. "raw" signs or verifies 600 bytes with the library and nothing else; "issue"
and "verify" are what a job does between its claim and its ending, without Redis. What a burst of
submissions does to the gateway is measured by `bench.burst`; `--burst`: nothing else.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench import burst, turns
from bench.server import flush, serving
from consumers.custody import SigningKey
from consumers.processors.vc_issuance import Issuance, Occasion
from credentials import did_key, keys
from credentials.contexts import Contexts
from credentials.resolver import Resolver
from credentials.settings import CredentialSettings
from credentials.verify import Verifier
from schemas.queues.vc_issuance import VcIssuance

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


async def issuer(session: aiohttp.ClientSession) -> str:
    """The did:key of an issuer, made by the worker."""
    operation = {"operation": "create", "didMethod": "key", **TENANT}
    made = await submit(session, "did-operations", operation)
    return str((await completed(session, "did-operations", made))["did"])


async def job(session: aiohttp.ClientSession) -> dict[str, Any]:
    """What the load of a burst submits."""
    return {"data": data(await issuer(session))}


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


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description="Issuing and verifying, per core.")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each rate")
    parser.add_argument("--issues", type=int, default=1_000)
    parser.add_argument("--burst", action="store_true", help="nothing but the burst")
    parser.add_argument("--bursts", type=int, default=5)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    measured: dict[str, dict[str, float]] = {}
    for kind in () if wanted.burst else keys.KEY_TYPES:
        measured[kind] = asyncio.run(rates(kind, wanted.seconds))
    if measured:
        print(table(measured), flush=True)
    with serving("valkey") as socket:
        held = turns.measure(socket, {"data": data(SUBJECT)}, wanted.issues, wanted.bursts)
        flush(socket)
        load = asyncio.run(burst.measure(socket, job, wanted.issues, wanted.bursts))
    print(burst.lines(load, wanted.issues))
    print(
        f"turns of the gateway's loop, processor time: p50 {held['p50_ms']:.2f} p99 "
        f"{held['p99_ms']:.2f} worst {held['worst_ms']:.1f} ms ({held['turns']})"
    )
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"rates": measured, "load": load, "turns": held}))


if __name__ == "__main__":
    main()
