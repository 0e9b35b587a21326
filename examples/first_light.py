"""First light: the whole of Credstream in half a minute, told as a story (`make demo`).

A university gets a key, a graduate gets a credential, we check its signature with nothing but the
DID it names, a job fails and is repaired, and the lights go out again. Exit code 0 means that every
sentence printed here was true.
"""

import asyncio
import base64
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.console import Console

from credstream import Job, Queue, Worker, connect
from credstream.api import Refused, Unreachable
from credstream.client import Client
from credstream.embedded import redis_url
from credstream.process import Command, describe_exit, end, spawn
from credstream.tables import stats_table

GRADUATE = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
UNIVERSITY = {"organizationId": "org-123", "userId": "user-456"}
DEGREE = {"degree": "Bachelor of Science", "major": "Computer Science", "graduationYear": 2024}
TRANSCRIPTS = "transcripts"
ED25519_PUBLIC = b"\xed\x01"
"""The multicodec prefix of an Ed25519 public key inside a did:key."""
PATIENCE_S = 90

console = Console(highlight=False, soft_wrap=True, emoji=False)


class Untrue(Exception):
    """Something in the story did not happen as told."""


def chapter(title: str) -> None:
    """A heading."""
    console.print(f"\n[bold]{title}[/]")


def tell(text: str) -> None:
    """A sentence."""
    console.print(f"  {text}")


def check(holds: bool, what: str) -> None:
    """Stop the story when `what` is not so."""
    if not holds:
        raise Untrue(what)


async def main() -> None:
    """The story, from an empty directory to an empty directory."""
    with tempfile.TemporaryDirectory(prefix="credstream-demo-") as place:
        data_dir = Path(place) / "data"
        async with running(data_dir) as url, Client(url) as gateway:
            issuer = await a_university_gets_a_key(gateway)
            vc_jwt = await a_graduate_gets_a_credential(gateway, issuer)
            anyone_can_check_it(vc_jwt, issuer)
            await a_job_fails_and_is_repaired(gateway, data_dir)
            await the_books_balance(gateway)
    chapter("The lights are out.")
    tell("Everything is stopped and the temporary data is removed.")


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[str]:
    """A whole Credstream on `data_dir`; yields its URL, and stops it whatever happens."""
    port = free_port()
    url = f"http://localhost:{port}"
    log = data_dir.parent / "credstream.log"
    chapter("It is dark. We run `credstream up`.")
    words = ("up", "--port", str(port), "--data-dir", str(data_dir))
    with log.open("wb") as output:
        process = await spawn(
            Command(
                argv=[sys.executable, "-m", "credstream", *words],
                # A Redis that happens to be set up on this machine is none of this story.
                env={"REDIS_URL": "", "REDIS_HOST": "", "HOST": "127.0.0.1"},
                output=output,
            )
        )
    try:
        async with Client(url) as gateway:
            while not await gateway.is_ready():
                check(process.returncode is None, f"`credstream up` starts, but: {tail(log)}")
                await asyncio.sleep(0.05)
        tell("No Redis was installed, and yet one is there: an embedded Valkey that writes its")
        tell(f"data to {data_dir}. The gateway listens on {url}.")
        try:
            yield url
        except Unreachable:
            await end(process, grace_s=60)
            raise Untrue(f"`credstream up` stays up, but:\n{tail(log)}") from None
        code = await end(process, grace_s=60)
        check(code == 0, f"`credstream up` stops in order, but: {describe_exit(code)}\n{tail(log)}")
    finally:
        await end(process, grace_s=60)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path) -> str:
    """The last lines of what `credstream up` printed."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:]) or "it printed nothing"


async def completed(gateway: Client, queue: str, job: dict[str, Any]) -> Any:
    """Submit `job`, wait for its end, and answer its result."""
    added = await gateway.submit_as_is(queue, job)
    tell(f"[dim]POST /queue/{queue}/jobs[/] -> job {added.id}")
    ended = await gateway.wait_for_end(queue, added.id)
    check(ended.state == "completed", f"job {added.id} completes: {ended.failed_reason}")
    took_ms = (ended.finished_on or 0) - ended.timestamp
    tell(f"A consumer took it from the stream; {took_ms} ms after its submission it was done.")
    return ended.returnvalue


async def a_university_gets_a_key(gateway: Client) -> str:
    """Create a did:key issuer; its DID."""
    chapter("A university wants to issue degrees. It needs a DID.")
    data = {"operation": "create", "didMethod": "key", **UNIVERSITY}
    result = await completed(gateway, "did-operations", {"name": "create-did", "data": data})
    issuer: str = result["did"]
    tell(f"Its DID is [cyan]{issuer}[/].")
    tell("The private key never left the vault: it lies there sealed.")
    return issuer


async def a_graduate_gets_a_credential(gateway: Client, issuer: str) -> str:
    """Issue a degree; the credential as a JWT."""
    chapter("A graduate asks for the degree.")
    data = {
        "issuerDid": issuer,
        "subjectDid": GRADUATE,
        "credentialType": "UniversityDegreeCredential",
        "claims": DEGREE,
        **UNIVERSITY,
    }
    result = await completed(gateway, "vc-issuance", {"name": "issue-credential", "data": data})
    tell(f"The credential [cyan]{result['credentialId']}[/], issued at {result['issuedAt']}:")
    console.print(f"  [dim]{result['vcJwt']}[/]")
    vc_jwt: str = result["vcJwt"]
    return vc_jwt


def anyone_can_check_it(vc_jwt: str, issuer: str) -> None:
    """Verify the JWT by hand, sharing no code with whatever signed it."""
    chapter("An employer checks it, trusting nobody here.")
    header, payload, signature = (unpadded(part) for part in vc_jwt.split("."))
    head, credential = json.loads(header), json.loads(payload)
    check(head["alg"] == "EdDSA", f"the algorithm is EdDSA, not {head['alg']}")
    check(credential["issuer"] == issuer, "the issuer named inside is the university")

    # A did:key *is* its public key: "z" says base58, two bytes say Ed25519, the rest is the key.
    encoded = issuer.removeprefix("did:key:z")
    decoded = base58.b58decode(encoded)
    check(decoded[:2] == ED25519_PUBLIC, "the DID holds an Ed25519 key")
    signed = vc_jwt.rpartition(".")[0].encode()
    try:
        Ed25519PublicKey.from_public_bytes(decoded[2:]).verify(signature, signed)
    except InvalidSignature:
        raise Untrue("the signature is valid") from None

    subject = credential["credentialSubject"]
    check(subject["id"] == GRADUATE, "the subject is the graduate")
    check(all(subject[name] == value for name, value in DEGREE.items()), "the claims are there")
    tell("The public key stands in the DID itself; with it the signature is [green]valid[/].")
    tell(f"It says: {subject['degree']} in {subject['major']}, {subject['graduationYear']}.")


def unpadded(part: str) -> bytes:
    """Base64url as JWTs write it, without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def a_job_fails_and_is_repaired(gateway: Client, data_dir: Path) -> None:
    """Three attempts fail, the dead letter tells why, a retry over HTTP succeeds."""
    chapter("Now something goes wrong. The transcripts office has a queue of its own.")
    archive = data_dir.parent / "archive.txt"

    async def copy_transcript(job: Job) -> dict[str, Any]:
        if not archive.exists():
            raise LookupError("The archive is not on its shelf")
        return {"student": job.data["student"], "transcript": archive.read_text()}

    redis = connect(redis_url(data_dir))
    try:
        # Its worker would do it too, but the first job may be faster.
        await Queue(TRANSCRIPTS, redis).register()
        async with Worker(TRANSCRIPTS, copy_transcript, concurrency=10, redis=redis):
            job_id = await three_attempts_fail(gateway)
            archive.write_text("Algorithms: A, Databases: A, Distributed Systems: A")
            await a_retry_succeeds(gateway, job_id)
    finally:
        await redis.close()


async def three_attempts_fail(gateway: Client) -> str:
    """Submit the job that cannot succeed yet and read its dead letter; its id."""
    options = {"attempts": 3, "backoff": {"type": "fixed", "delay": 300}}
    job = {"name": "copy", "data": {"student": GRADUATE}, "options": options}
    added = await gateway.submit_as_is(TRANSCRIPTS, job)
    tell(f"[dim]POST /queue/{TRANSCRIPTS}/jobs[/] -> job {added.id}")
    dead = await gateway.wait_for_end(TRANSCRIPTS, added.id)
    check(dead.state == "failed", "a job whose file is missing fails")
    check(dead.attempts_made == 3, f"it was tried three times, not {dead.attempts_made}")
    tell("Its worker cannot find the archive. Three attempts, 300 ms apart, then the job lies in")
    tell("the dead-letter stream with the history of its errors:")
    for error in dead.errors:
        at = time.strftime("%H:%M:%S", time.localtime(error.at / 1000))
        tell(f"  attempt {error.attempt} at {at}: [red]{error.message}[/]")
    return added.id


async def a_retry_succeeds(gateway: Client, job_id: str) -> None:
    """Redrive the dead letter over HTTP."""
    tell("Somebody puts the archive back, and the dead letter gets another chance:")
    await gateway.retry(TRANSCRIPTS, job_id)
    tell(f"[dim]POST /queue/{TRANSCRIPTS}/job/{job_id}/retry[/]")
    done = await gateway.wait_for_end(TRANSCRIPTS, job_id)
    check(done.state == "completed", f"the retried job completes: {done.failed_reason}")
    tell(f"[green]Completed[/]: {done.returnvalue['transcript']}.")


async def the_books_balance(gateway: Client) -> None:
    """Nothing is left over."""
    chapter("The books, at the end of the day.")
    queues = await gateway.stats()
    console.print(stats_table([queue.model_dump(by_alias=True) for queue in queues]))
    counts = {queue.name: queue for queue in queues}
    for name in ("did-operations", "vc-issuance", TRANSCRIPTS):
        check(counts[name].completed == 1, f"{name} has completed one job")
    check(all(queue.failed == 0 for queue in queues), "no job is left failed")


async def tell_it() -> int:
    """The story within bounds; the exit code."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await main()
    except TimeoutError:
        console.print(f"\n[red]The story got stuck[/]: it was not over after {PATIENCE_S} seconds.")
    except (Refused, Unreachable, Untrue, OSError) as error:
        console.print("\n[red]The story went wrong.[/] What was told is not so:", end=" ")
        console.print(str(error), markup=False)
    else:
        return 0
    return 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(tell_it()))
    except KeyboardInterrupt:
        sys.exit("\nStopped half-way.")
