"""A Sentinel trio over one master and one replica, for failover tests."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import end, eventually, free_ports, spawn
from redis import Redis
from redis_servers import Server, running, temporary_folder, valkey_binary

MASTER = "mymaster"
QUORUM = 2


@dataclass
class Trio:
    """Three sentinels watching `master`; `replica` takes over when it is gone for a second."""

    master: Server
    replica: Server
    ports: list[int]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/{MASTER}"

    def master_port(self) -> int:
        """Whom the first sentinel names as the master now."""
        info = _told(self.ports[0])
        return int(info[b"port"])


@contextmanager
def sentinel(binary: Path | None = None, **options: Any) -> Iterator[Trio]:
    """A master, its replica and three sentinels that know each other."""
    program = binary or valkey_binary()
    with ExitStack() as stack:
        master = stack.enter_context(running(program, tcp=True, **options))
        extra = ("--replicaof", "127.0.0.1", str(master.port))
        replica = stack.enter_context(running(program, tcp=True, extra=extra, **options))
        ports = free_ports(3)
        for port in ports:
            folder = stack.enter_context(temporary_folder())
            config = folder / "sentinel.conf"
            config.write_text(_config(port, master.port))
            watcher = spawn([program, config, "--sentinel"], cwd=folder)
            stack.callback(end, watcher)
        trio = Trio(master, replica, ports)
        eventually(lambda: _settled(trio), within_s=20, what="the sentinels know everyone")
        yield trio


def _config(port: int, master_port: int) -> str:
    return f"""port {port}
bind 127.0.0.1
sentinel monitor {MASTER} 127.0.0.1 {master_port} {QUORUM}
sentinel down-after-milliseconds {MASTER} 1000
sentinel failover-timeout {MASTER} 3000
"""


def _settled(trio: Trio) -> bool:
    try:
        told = [_told(port) for port in trio.ports]
    except OSError:
        return False
    wanted = (b"1", str(len(trio.ports) - 1).encode())
    return all((t[b"num-slaves"], t[b"num-other-sentinels"]) == wanted for t in told)


def _told(port: int) -> dict[bytes, bytes]:
    with Redis(host="127.0.0.1", port=port) as client:
        connection = client.connection_pool.get_connection()
        try:
            connection.send_command("SENTINEL", "MASTER", MASTER)
            answer = connection.read_response()
        finally:
            client.connection_pool.release(connection)
    if isinstance(answer, dict):
        return answer
    return dict(zip(answer[::2], answer[1::2], strict=True))
