"""A real relay (aiosmtpd) on loopback, a relay that answers what a test says, and jobs taken from a
real queue and handed to the processor as a worker hands them over."""

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, Envelope, Session

import streams
from consumers.mail.mailer import Mailer, open_mailer
from consumers.processor import Context, Resources
from consumers.processors import emails
from schemas.queues.emails import SPEC, Email
from streams.claims import Claim, Claims, Ending

PAYLOAD: dict[str, Any] = {
    "to": "jane@example.com",
    "subject": "Hello",
    "template": "notice",
    "context": {"message": "The message."},
    "organizationId": "org-a",
}


@dataclass
class Received:
    """One message as the relay got it."""

    sender: str
    recipients: list[str]
    content: bytes
    options: list[str]

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.SMTPUTF8)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class Relay:
    """An aiosmtpd handler: keeps what comes, and refuses what `replies` says."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    """Address or "data" -> what is answered instead of 250."""
    on_data: Callable[[], Any] | None = None

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands.append(f"MAIL {address}")
        if session not in self.sessions:
            self.sessions.append(session)
        if address in self.replies:
            return self.replies[address]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.commands.append(f"RCPT {address}")
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        self.commands.append("DATA")
        if "data" in self.replies:
            return self.replies["data"]
        assert isinstance(envelope.original_content, bytes)
        self.received.append(
            Received(
                str(envelope.mail_from),
                list(envelope.rcpt_tos),
                envelope.original_content,
                list(envelope.mail_options),
            )
        )
        if self.on_data is not None:
            self.on_data()
        return f"250 queued as {len(self.received)}"


@asynccontextmanager
async def serving(
    handler: Relay, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", **server: Any
) -> AsyncIterator[Relay]:
    """The handler on a loopback port, in this loop."""
    loop = asyncio.get_running_loop()
    options = {"hostname": "relay.test", "enable_SMTPUTF8": True, "loop": loop} | server
    protocols: list[SMTP] = []

    def protocol() -> SMTP:
        protocols.append(SMTP(handler, **options))
        return protocols[-1]

    listener = await loop.create_server(protocol, host, 0, ssl=tls)
    handler.port = listener.sockets[0].getsockname()[1]
    try:
        yield handler
    finally:
        listener.close()
        for one in protocols:
            if one.transport is not None:
                one.transport.abort()
        await listener.wait_closed()
        await asyncio.sleep(0)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay without TLS that takes everything."""
    async with serving(Relay()) as running:
        yield running


@pytest.fixture
def relay_with() -> Any:
    """`async with relay_with(tls=..., **aiosmtpd_options) as relay`."""
    return lambda **options: serving(Relay(), **options)


@dataclass
class Certificates:
    """A certificate authority, and a server's certificate for localhost by it."""

    ca_file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    place = tmp_path_factory.mktemp("ca")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(place / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return Certificates(place / "ca.pem", context)


@pytest.fixture
def mail_env(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """mail_env(NAME=value): the settings of mail, and none but these."""
    import os

    for name in list(os.environ):
        if name.startswith(("MAIL_", "SMTP_", "PUBLIC_URL")):
            monkeypatch.delenv(name)

    def put(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return put


@pytest.fixture
def smtp_env(relay: Relay, mail_env: Callable[..., None]) -> Callable[..., None]:
    """As mail_env, with everything that reaches `relay`."""
    mail_env(
        SMTP_HOST="127.0.0.1",
        SMTP_PORT=relay.port,
        SMTP_TLS="none",
        MAIL_FROM="Example <no-reply@example.org>",
    )
    return mail_env


@dataclass
class Desk:
    """Takes jobs from the emails queue and runs the processor with a real context."""

    redis: streams.Redis
    queue: streams.Queue
    claims: Claims
    mailer: Mailer

    async def take(self, job_id: str | None = None, **changes: Any) -> Claim:
        """Submit a job and claim it."""
        options = {"job_id": job_id} if job_id else {}
        await self.queue.add("emails", PAYLOAD | changes, **options)
        return await self.claim()

    async def claim(self) -> Claim:
        """The next waiting job, now active."""
        link = await self.claims.link()
        try:
            claimed, _ = await self.claims.claim(link, 1)
        finally:
            await self.redis.forget(link)
        (claim,) = claimed.claims
        claim.job = await self.claims.payload(claim.job)
        return claim

    async def run(self, claim: Claim) -> dict[str, Any]:
        """What the processor answers; raises what it raises. The job stays active."""
        claim.job.validate(Email)
        return await emails.handle(claim.job, Context(self.claims, claim, self.mailer))

    async def send(self, **changes: Any) -> dict[str, Any]:
        """Submit and run."""
        return await self.run(await self.take(**changes))

    async def fail(self, claim: Claim) -> None:
        """Settle a claim as failed for good."""
        ending = Ending(claim, "fail", history=b'[{"attempt":1,"reason":"rejected"}]')
        await self.claims.send([command for command, _ in self.claims.settle([ending])])

    async def release(self, claim: Claim) -> Claim:
        """As when a worker has died: another one gets the job."""
        commands = self.claims.settle([Ending(claim, "release")])
        await self.claims.send([command for command, _ in commands])
        return await self.claim()


@pytest.fixture
def desk(redis: streams.Redis, tmp_path: Path) -> Any:
    """`async with desk() as at`: a mailer as the environment sets it up."""

    @asynccontextmanager
    async def opened(production: bool = False) -> AsyncIterator[Desk]:
        async with open_mailer(Resources(redis, tmp_path, production)) as mailer:
            yield Desk(redis, streams.Queue(SPEC, redis), Claims(SPEC, redis, "desk"), mailer)

    return opened
