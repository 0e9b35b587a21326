"""Services are kept running, given up in the end, and stopped in order."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from pathlib import Path

import pytest
from processes import eventually

from credstream import supervise
from credstream.process import Command, describe_exit, end, is_alive, spawn
from credstream.supervise import Service, ServiceError, supervising

PATIENT = 20.0


def shell(script: str) -> Callable[[], Awaitable[Process]]:
    return lambda: spawn(Command(argv=["/bin/sh", "-c", script]))


class Said(list[str]):
    """What a supervisor told the person, and a way to wait for the next message."""

    def __init__(self) -> None:
        super().__init__()
        self.more = asyncio.Event()

    def __call__(self, message: str) -> None:
        self.append(message)
        self.more.set()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE_S", 0.0)


async def appears(path: Path) -> None:
    """The child has written `path`: its traps are set."""
    await asyncio.to_thread(eventually, path.exists, within_s=PATIENT, what=f"{path.name}")


async def test_a_service_that_died_is_started_again(tmp_path: Path) -> None:
    said = Said()
    script = f"echo x >> {tmp_path}/starts; exec sleep 60"
    started: list[Process] = []

    async def start() -> Process:
        started.append(await shell(script)())
        return started[-1]

    async with supervising(said) as supervisor:
        await supervisor.start(Service("thing", start, PATIENT))
        started[0].kill()
        await said.more.wait()
        assert said == ["The thing ended (signal SIGKILL); starting it again in 0 s."]
        await asyncio.to_thread(eventually, lambda: len(started) == 2, within_s=PATIENT, what="two")
    assert not is_alive(started[1].pid)


async def test_a_service_that_keeps_dying_is_given_up() -> None:
    said = Said()
    async with supervising(said) as supervisor:
        await supervisor.start(Service("thing", shell("exit 7"), PATIENT))
        with pytest.raises(
            ServiceError, match=r"The thing ended \(exit code 7\), 5 times in a row"
        ):
            await supervisor.wait()
    assert len(said) == supervise.MAX_DEATHS - 1


async def test_settings_that_do_not_fit_are_not_tried_again() -> None:
    said = Said()
    async with supervising(said) as supervisor:
        await supervisor.start(Service("thing", shell("exit 2"), PATIENT))
        with pytest.raises(ServiceError, match=r"The thing cannot run as it is set up"):
            await supervisor.wait()
    assert said == []


async def test_a_restart_that_fails_is_told_and_counted(tmp_path: Path) -> None:
    said = Said()
    programs = chain(["false"], repeat(str(tmp_path / "gone")))
    async with supervising(said) as supervisor:
        await supervisor.start(Service("thing", lambda: spawn(Command([next(programs)])), PATIENT))
        with pytest.raises(ServiceError, match=r"could not be started again.*No such file.*Giving"):
            await supervisor.wait()


async def test_the_last_started_is_stopped_first_and_completely(tmp_path: Path) -> None:
    order = tmp_path / "order"

    def service(name: str) -> Service:
        trap = f"trap 'echo {name} asked >> {order}; echo {name} done >> {order}; exit 0' TERM"
        ready = f"touch {tmp_path}/{name}; while :; do sleep 0.05; done"
        return Service(name, shell(f"{trap}; {ready}"), PATIENT)

    async with supervising(Said()) as supervisor:
        for name in ("store", "worker", "gateway"):
            await supervisor.start(service(name))
            await appears(tmp_path / name)
        os.kill(os.getpid(), signal.SIGTERM)
        await supervisor.wait()
    assert order.read_text().splitlines() == [
        f"{name} {what}" for name in ("gateway", "worker", "store") for what in ("asked", "done")
    ]


async def test_start_up_is_cut_off_by_a_signal() -> None:
    async with supervising(Said()) as supervisor:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
        assert not await supervisor.unless_ended(asyncio.sleep(PATIENT))


async def test_start_up_is_cut_off_by_a_service_that_keeps_dying() -> None:
    async with supervising(Said()) as supervisor:
        await supervisor.start(Service("thing", shell("exit 1"), PATIENT))
        with pytest.raises(ServiceError, match="thing"):
            await supervisor.unless_ended(asyncio.Event().wait())  # type: ignore[arg-type]


async def test_what_start_up_raises_is_raised() -> None:
    async def broken() -> None:
        raise OSError("no")

    async with supervising(Said()) as supervisor:
        with pytest.raises(OSError, match="no"):
            await supervisor.unless_ended(broken())


async def test_a_second_signal_reaches_the_one_being_stopped(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    trap = f"trap 'if [ -e {asked} ]; then exit 0; fi; touch {asked}' TERM"
    ready = f"touch {tmp_path}/up; while :; do sleep 0.05; done"
    async with supervising(Said()) as supervisor:
        await supervisor.start(Service("slow", shell(f"{trap}; {ready}"), PATIENT))
        await appears(tmp_path / "up")
        stop = asyncio.create_task(supervisor.stop())
        await appears(asked)
        supervisor.signalled()
        await stop


async def test_who_ignores_the_end_is_killed(tmp_path: Path) -> None:
    up = tmp_path / "up"
    process = await shell(f"trap '' TERM; touch {up}; while :; do sleep 0.05; done")()
    await appears(up)
    assert await end(process, grace_s=0.0) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "signal SIGKILL"), (-99, "signal 99")],
)
def test_exit_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words
