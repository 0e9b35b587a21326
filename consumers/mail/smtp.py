"""The relay: a pool of our own over aiosmtplib, which has none and whose one connection is strictly
sequential (EM-12..EM-14)."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientRefused,
    SMTPResponseException,
)

from consumers.mail.message import Outgoing
from consumers.mail.outcome import Meaning, NotDelivered, Stage, judge, reply_text
from consumers.mail.settings import MailError, MailSettings

logger = logging.getLogger(__name__)

MESSAGES_PER_CONNECTION = 100
IDLE_S = 30.0
QUIT_S = 5.0
BeforeData = Callable[[], Awaitable[None]]
"""Called when every recipient is accepted and DATA comes next."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The message is taken. `refused`: copies the relay would not take, with its words."""

    response: str
    refused: dict[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """What takes messages."""

    async def send(self, outgoing: Outgoing, before_data: BeforeData) -> Accepted:
        """Raises NotDelivered, and what `before_data` raises."""

    async def close(self) -> None:
        """Give everything back."""


@dataclass(slots=True)
class _Connection:
    client: SMTP
    used_at_s: float = 0.0
    messages: int = 0


class _Stale(Exception):
    """The relay had closed a connection of the pool before it learned of the message."""


class Relay:
    """Connections to one relay, made when needed: as many as deliveries run at once."""

    def __init__(self, settings: MailSettings, local_name: str) -> None:
        """`local_name` is what we call ourselves in EHLO. Raises MailError for a bad CA file."""
        self._settings = settings
        self._local_name = local_name
        self._tls = _tls_context(settings)
        self._idle: list[_Connection] = []
        self._background: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> int:
        """Connections that wait for a next message."""
        return len(self._idle)

    async def send(self, outgoing: Outgoing, before_data: BeforeData) -> Accepted:
        """Deliver within SMTP_TIMEOUT_S. Raises NotDelivered, and what `before_data` raises."""
        delivery = _Delivery(outgoing, before_data)
        try:
            # aiosmtplib's own timeouts are per socket operation: a dripping relay outlasts them.
            async with asyncio.timeout(self._settings.smtp_timeout_s):
                return await self._deliver(delivery)
        except TimeoutError as error:
            raise delivery.failure or judge(delivery.stage, error) from None

    async def _deliver(self, delivery: "_Delivery") -> Accepted:
        while connection := self._reusable():
            with contextlib.suppress(_Stale):
                return await self._over(connection, delivery)
        return await self._over(await self._connect(delivery), delivery)

    async def _over(self, connection: _Connection, delivery: "_Delivery") -> Accepted:
        """Afterwards the connection is in the pool, unless nobody knows what state it is in."""
        client = connection.client
        try:
            accepted = await delivery.run(client)
        except (SMTPException, OSError, ValueError) as error:
            if connection.messages and delivery.is_stale(error):
                client.close()
                raise _Stale from None
            failure = delivery.failure = judge(delivery.stage, error)
            if _is_over(failure) or not await _reset(client):
                client.close()
            else:
                self._give_back(connection)
            raise failure from error
        except BaseException:
            client.close()
            raise
        self._give_back(connection)
        return accepted

    def _reusable(self) -> _Connection | None:
        """The connection used last; those that have waited too long are left for the sweep."""
        oldest_s = asyncio.get_running_loop().time() - IDLE_S
        while self._idle and self._idle[-1].used_at_s > oldest_s:
            connection = self._idle.pop()
            if connection.client.is_connected:
                return connection
        return None

    def _give_back(self, connection: _Connection) -> None:
        connection.messages += 1
        if connection.messages >= MESSAGES_PER_CONNECTION:
            self._quit_later(connection)
            return
        loop = asyncio.get_running_loop()
        connection.used_at_s = loop.time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_S, self._close_idle)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest_s = loop.time() - IDLE_S
        for connection in [one for one in self._idle if one.used_at_s <= oldest_s]:
            self._idle.remove(connection)
            self._quit_later(connection)
        self._sweep = loop.call_later(IDLE_S, self._close_idle) if self._idle else None

    def _quit_later(self, connection: _Connection) -> None:
        task = asyncio.create_task(_quit(connection.client))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """Say goodbye on every idle connection, for at most 5 s."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            self._quit_later(self._idle.pop())
        await asyncio.gather(*self._background)

    async def _connect(self, delivery: "_Delivery") -> _Connection:
        """Connected, with TLS and log-in as set up: what is asked for is had, or nothing goes."""
        settings = self._settings
        client = SMTP(
            hostname=settings.smtp_host,
            port=settings.port,
            use_tls=settings.smtp_tls == "tls",
            start_tls=False,  # done below, where its failure has a name
            tls_context=self._tls,
            local_hostname=self._local_name,
            timeout=settings.smtp_timeout_s,
        )
        delivery.stage = Stage.CONNECT
        try:
            await client.connect()
            await client.ehlo()
            if settings.smtp_tls == "starttls":
                delivery.stage = Stage.STARTTLS
                await client.starttls()
                await client.ehlo()
            if settings.smtp_username:
                delivery.stage = Stage.AUTH
                await client.login(settings.smtp_username, settings.password())
        except (SMTPException, OSError, ValueError, MailError) as error:
            client.close()
            failure = judge(delivery.stage, error)
            logger.warning("mail relay: %s failed: %s", delivery.stage, error)
            raise failure from error
        except BaseException:
            client.close()
            raise
        return _Connection(client)


class _Delivery:
    """One message on its way: knows how far it has come."""

    def __init__(self, outgoing: Outgoing, before_data: BeforeData) -> None:
        self._outgoing = outgoing
        self._before_data = before_data
        self.stage = Stage.CONNECT
        self.failure: NotDelivered | None = None
        """What the relay has said, even if time runs out in what comes after."""

    async def run(self, client: SMTP) -> Accepted:
        """MAIL, RCPT, DATA on a connection that is ready."""
        outgoing = self._outgoing
        self.stage = Stage.MAIL
        encoding = "utf-8" if outgoing.utf8 else "ascii"
        await client.mail(outgoing.sender, options=self._options(client), encoding=encoding)
        self.stage = Stage.RCPT
        refused = await self._name_recipients(client, encoding)
        await self._before_data()
        self.stage = Stage.DATA
        response = await client.data(outgoing.content)
        return Accepted(f"{response.code} {reply_text(response.message)}", refused)

    def is_stale(self, error: Exception) -> bool:
        """Whether a connection from the pool turned out to be closed (or is being closed: 421)."""
        gone = not isinstance(error, SMTPResponseException) or error.code == 421
        return gone and self.stage is Stage.MAIL

    async def _name_recipients(self, client: SMTP, encoding: str) -> dict[str, str]:
        """A copy may be refused for good; the first recipient may not."""
        refused = {}
        first, *copies = self._outgoing.recipients
        await client.rcpt(first, encoding=encoding)
        for address in copies:
            try:
                await client.rcpt(address, encoding=encoding)
            except SMTPRecipientRefused as error:
                if not 500 <= error.code < 600:
                    raise
                refused[address] = f"{error.code} {reply_text(error.message)}"
        return refused

    def _options(self, client: SMTP) -> list[str]:
        options = []
        if client.supports_extension("size"):
            options.append(f"SIZE={len(self._outgoing.content)}")
        if self._outgoing.utf8:
            if not client.supports_extension("smtputf8"):
                raise SMTPNotSupported("SMTPUTF8")
            options.append("SMTPUTF8")
        return options


def _is_over(failure: NotDelivered) -> bool:
    """Whether the dialogue cannot go on: nobody knows which reply belongs to what."""
    return failure.meaning is Meaning.AMBIGUOUS or failure.code == "relay_unavailable"


async def _reset(client: SMTP) -> bool:
    try:
        await client.rset(timeout=QUIT_S)
    except (SMTPException, OSError):
        return False
    except BaseException:  # cancelled: nobody will close it after us
        client.close()
        raise
    return client.is_connected


async def _quit(client: SMTP) -> None:
    """What comes back no longer matters: the messages are with the relay."""
    with contextlib.suppress(SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(QUIT_S):
            await client.quit()
    client.close()


def _tls_context(settings: MailSettings) -> ssl.SSLContext | None:
    if settings.smtp_tls == "none":
        return None
    try:
        context = ssl.create_default_context(cafile=settings.smtp_ca_file)
    except OSError as error:
        raise MailError(f"SMTP_CA_FILE cannot be used: {error}.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
