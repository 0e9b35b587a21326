"""Redis as the engine sees it: a link for a key, whatever the topology. Typed once, here."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, Connection, UnixDomainSocketConnection
from redis.asyncio.sentinel import Sentinel
from redis.credentials import CredentialProvider
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from streams.errors import CredstreamError, Full, Refused, Unavailable
from streams.link import Connect, Link, Lost
from streams.replication import ReplicaWaiter
from streams.scripts import BY_SHA, Command
from streams.sealing import Cipher
from streams.settings import RedisSettings, address
from streams.slots import Slots
from streams.tally import Tally
from streams.tls import TlsConnection

NOT_NOW = (
    TryAgainError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    NoScriptError,
)
"""Errors after which nothing was done and a later call may succeed."""
NOT_NOW_WORDS = ("NOREPLICAS", "MISCONF", "UNBLOCKED", "LOADING", "BUSY ")
"""The same, where redis-py has no class; where it has one it strips the word from the text."""


class Redis:
    """A handle on the Redis this system runs on; connects when first used.

    `link(key)` is shared by all callers; `dedicated(key)` is a new one for blocking commands.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.address = address(settings)
        self.opened: set[str] = set()
        """Queues whose layout this process has checked."""
        self.tally = Tally()
        self.cipher: Cipher | None = None
        """What seals and opens jobs of sealed queues in this process."""
        self._links: dict[str, Link] = {}
        self._extra: list[Link] = []
        self._waiters: dict[str, ReplicaWaiter] = {}
        self._sentinel: Sentinel | None = None
        self._slots = Slots(self.address.hosts, self._kwargs(cluster=True), tls=self.address.tls)

    async def link(self, key: str) -> Link:
        """The shared link to the node that has `key`."""
        link = self._shared(await self._node(key))
        if self.address.kind == "cluster" and link.fails:
            # It could not be reached: by now another node may have its keys.
            await self._slots.renew(await self._slots.known())
            link = self._shared(await self._node(key))
        return link

    async def everywhere(self) -> list[Link]:
        """The shared links to every node that holds keys: several in a cluster."""
        if self.address.kind != "cluster":
            return [self._shared(None)]
        links = [self._shared(node) for node in await self._slots.primaries()]
        if any(link.fails for link in links):
            await self._slots.renew(await self._slots.known())
            links = [self._shared(node) for node in await self._slots.primaries()]
        return links

    def _shared(self, node: ClusterNode | None) -> Link:
        name = node.name if node else ""
        if name not in self._links:
            timeout_s = self.settings.timeout_ms / 1000
            self._links[name] = Link(self._connector(node), timeout_s, self.tally)
        return self._links[name]

    async def dedicated(self, key: str, block_s: float) -> Link:
        """A link of the caller's own, for commands that block up to `block_s`. Each connection it
        opens goes to the node that has `key` by then: close it when a reply says MOVED or ASK."""

        async def to_its_node() -> AbstractConnection:
            return await self._connector(await self._node(key))()

        timeout_s = block_s + self.settings.timeout_ms / 1000
        link = Link(to_its_node, timeout_s, self.tally)
        self._extra.append(link)
        return link

    async def replica_waiter(self, key: str) -> ReplicaWaiter:
        """What waits for the replicas of the node that has `key`; shared by all callers."""
        node, settings = await self._node(key), self.settings
        name = node.name if node else ""
        if name not in self._waiters:
            limit_ms = settings.durability_wait_ms
            timeout_s = (limit_ms + settings.timeout_ms) / 1000
            link = Link(self._connector(node), timeout_s, self.tally)
            self._waiters[name] = ReplicaWaiter(link, settings.replicas_wanted, limit_ms)
        return self._waiters[name]

    async def forget(self, link: Link) -> None:
        """Close a dedicated link."""
        if link in self._extra:
            self._extra.remove(link)
        await link.close()

    async def command(self, *args: bytes | str | int | float, key: str) -> Any:
        """One plain command on the node that has `key`. Raises Unavailable or Full."""
        return (await self.run(key, tuple(args)))[0]

    async def run(self, key: str, *commands: Command) -> list[Any]:
        """Commands and scripts in one write on the node that has `key`; error replies raise."""
        link = await self.link(key)
        replies = await link.run(*commands)
        return [await self.judge(reply, commands[n]) for n, reply in enumerate(replies)]

    async def judge(self, reply: Any, command: Command) -> Any:
        """A reply, or what to raise for it. A key that has moved is asked for where it is now."""
        if isinstance(reply, MovedError | AskError):
            return await self._redirect(reply, command)
        if isinstance(reply, ResponseError):
            raise self._refusal(reply)
        return reply

    def _refusal(self, reply: ResponseError) -> CredstreamError:
        error = verdict(reply)
        kinds: dict[type[CredstreamError], str] = {Full: "full", Unavailable: "not_now"}
        self.tally.errors[kinds.get(type(error), "refused")] += 1
        return error

    async def ping(self) -> None:
        """Raises Unavailable unless Redis accepts writes (a PING succeeds where writes do not)."""
        with self.tally.timing():
            await self.command(b"SET", "cs:probe", b"1", b"PX", 60_000, key="cs:probe")

    async def close(self) -> None:
        """Close every link. The handle may be used again."""
        for link in (*self._links.values(), *self._extra):
            await link.close()
        for waiter in self._waiters.values():
            await waiter.close()
        self._links.clear()
        self._waiters.clear()
        self._extra.clear()
        await self._slots.close()
        if self._sentinel:
            for client in self._sentinel.sentinels:
                await client.aclose()
            self._sentinel = None

    async def _redirect(self, error: AskError, command: Command) -> Any:
        node_key = f"{error.host}:{error.port}"
        if isinstance(error, MovedError):
            await self.unreachable()
        if node_key not in self._links:
            kwargs = self._kwargs(cluster=True) | {"host": error.host, "port": error.port}
            self._links[node_key] = Link(_maker(self._class(), kwargs), 5.0, self.tally)
        link = self._links[node_key]
        asking: tuple[Command, ...] = () if isinstance(error, MovedError) else ((b"ASKING",),)
        reply = (await link.send(*asking, command))[-1]
        if isinstance(reply, NoScriptError):
            lesson = (b"SCRIPT", b"LOAD", BY_SHA[command[1]].source)  # type: ignore[index]
            reply = (await link.send(lesson, *asking, command))[-1]
        if isinstance(reply, ResponseError):
            raise self._refusal(reply)
        return reply

    async def _node(self, key: str) -> ClusterNode | None:
        if self.address.kind != "cluster":
            return None
        return await self._slots.node(key)

    async def unreachable(self) -> None:
        """A link failed, or a key is elsewhere: in a cluster, ask who serves its slots by now."""
        if self.address.kind == "cluster":
            with suppress(Unavailable):
                await self._slots.renew(await self._slots.known())

    def _connector(self, node: ClusterNode | None) -> Connect:
        if node is not None:
            kwargs = self._kwargs(cluster=True) | {"host": node.host, "port": node.port}
            return _maker(self._class(), kwargs)
        if self.address.kind == "sentinel":
            return self._from_sentinel
        where: dict[str, Any] = {"path": self.address.path}
        if self.address.kind == "single":
            where = dict(zip(("host", "port"), self.address.hosts[0], strict=True))
        return _maker(self._class(), self._kwargs() | where)

    async def _from_sentinel(self) -> AbstractConnection:
        """A connection to whom a sentinel names as primary, asked at every connect."""
        if self._sentinel is None:
            # The sentinels' own users are not those of the servers they watch.
            its = self.settings
            login = _login(its.sentinel_password_file, its.sentinel_username, its.sentinel_password)
            sentinel_kwargs = self._kwargs(cluster=True) | login | {"ssl": self.address.tls}
            self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
                self.address.hosts, sentinel_kwargs=sentinel_kwargs
            )
            for client in self._sentinel.sentinels:
                client.connection_pool.connection_class = self._class()
        host, port = await self._sentinel.discover_master(self.address.master)
        return self._class()(**self._kwargs() | {"host": host, "port": port})

    def _class(self) -> type[AbstractConnection]:
        if self.address.kind == "unix":
            return UnixDomainSocketConnection
        return TlsConnection if self.address.tls else Connection

    def _kwargs(self, *, cluster: bool = False) -> dict[str, Any]:
        settings, where = self.settings, self.address
        kwargs: dict[str, Any] = {
            "socket_connect_timeout": settings.connect_timeout_ms / 1000,
            "socket_timeout": settings.timeout_ms / 1000 if cluster else None,
            "protocol": 2,
            "driver_info": None,
        }
        if not cluster:
            kwargs["db"] = where.db
        user = where.username or settings.username
        kwargs |= _login(settings.password_file, user, where.password)
        if where.tls:
            kwargs |= {
                "ssl_ca_certs": settings.tls_ca_file,
                "ssl_certfile": settings.tls_cert_file,
                "ssl_keyfile": settings.tls_key_file,
                "ssl_check_hostname": True,
            }
        return kwargs


def _login(
    path: Path | None, username: str | None, password: SecretStr | str | None
) -> dict[str, Any]:
    """Whom to log in as; every key is there, so that it replaces another login."""
    if path is not None:
        provider = _PasswordFile(path, username)
        return {"username": None, "password": None, "credential_provider": provider}
    if isinstance(password, SecretStr):
        password = password.get_secret_value()
    return {"username": username, "password": password, "credential_provider": None}


class _PasswordFile(CredentialProvider):
    def __init__(self, path: Path, username: str | None) -> None:
        self._path, self._username = path, username

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        password = self._path.read_text(encoding="utf-8").strip()
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


def verdict(error: ResponseError) -> CredstreamError:
    """What an error reply means to a caller."""
    text = str(error)
    if isinstance(error, OutOfMemoryError) or text.startswith("OOM"):
        return Full("Redis is out of memory: nothing was stored")
    if isinstance(error, NOT_NOW) or text.startswith(NOT_NOW_WORDS):
        return Unavailable("Redis does not accept this now: nothing was done")
    return Refused(f"Redis refused a command: {text}")


def connect(where: RedisSettings | str | None = None) -> Redis:
    """A handle on Redis from settings, from a URL, or (None) from the environment. Connects when
    first used. ValueError says what is wrong with a URL."""
    if isinstance(where, str):
        where = RedisSettings(url=SecretStr(where))
    return Redis(where or RedisSettings())


def _maker(kind: type[AbstractConnection], kwargs: Mapping[str, Any]) -> Connect:
    async def make() -> AbstractConnection:
        return kind(**kwargs)

    return make


__all__ = ["Link", "Lost", "Redis", "connect", "verdict"]
