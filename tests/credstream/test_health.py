"""`credstream health` asks a worker that is well, one without Redis, and nobody at all."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from click.testing import CliRunner
from processes import end, eventually, free_ports, spawn
from redis_servers import Server

from credstream.cli import main
from credstream.commands.serve import program


def ask(*words: str, **env: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["health", *words], env=env)
    return result.exit_code, result.output


@pytest.fixture
def settings(own_server: Server, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": own_server.url,
        "QUEUES": "did-operations",
        "DATA_DIR": str(tmp_path),
        "PROBE_HOST": "0.0.0.0",
        "PROBE_PORT": str(free_ports(1)[0]),
    }


@pytest.fixture
def worker(settings: dict[str, str]) -> Iterator[Popen[bytes]]:
    process = spawn(program("worker"), env=settings)
    try:
        eventually(lambda: ask(**settings)[0] == 0, within_s=30, what="the worker is alive")
        yield process
    finally:
        end(process)


def test_a_worker_that_is_well(worker: Popen[bytes], settings: dict[str, str]) -> None:
    assert ask("--ready", **settings) == (
        0,
        f"/readyz at 127.0.0.1:{settings['PROBE_PORT']}: well\n",
    )


def test_a_worker_without_redis_lives_but_is_not_ready(
    worker: Popen[bytes], settings: dict[str, str], own_server: Server
) -> None:
    own_server.kill()
    assert ask(**settings)[0] == 0
    code, said = ask("--ready", **settings)
    assert (code, "answered 503" in said) == (1, True)


def test_nobody_there() -> None:
    port = free_ports(1)[0]
    code, said = ask(PORT=str(port), PROBE_PORT="0")
    assert (code, f"Nobody answers at 127.0.0.1:{port}" in said) == (3, True)


@pytest.mark.parametrize("url", ["https://localhost:1", "localhost", "http://"])
def test_not_an_address(url: str) -> None:
    assert ask("--url", url)[0] == 2
