"""How long one turn of the gateway's event loop holds the processor, in a burst of submissions.

Processor time of the thread, not time on the clock: what else runs on this machine adds nothing to
it. Whoever asks the gateway something meanwhile waits for about two turns.
"""

import asyncio
import gc
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import uvloop

from bench.usage import spread
from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import connect

WORTH_MS = 0.2
"""Shorter turns have done nothing but look."""


class Turns:
    """Notes what each turn of the loop took, from `start` to `stop`."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []
        self._since_s = 0.0
        self._running = False

    def start(self) -> None:
        """From now on the loop never rests."""
        self._running = True
        self._since_s = time.thread_time()
        asyncio.get_running_loop().call_soon(self._turn)

    def stop(self) -> None:
        """It may rest again."""
        self._running = False

    def _turn(self) -> None:
        took_ms = 1_000 * (time.thread_time() - self._since_s)
        if took_ms >= WORTH_MS:
            self.took_ms.append(took_ms)
        self._since_s = time.thread_time()
        if self._running:
            asyncio.get_running_loop().call_soon(self._turn)


async def _bursts(socket: Path, body: bytes, issues: int, bursts: int) -> dict[str, float]:
    redis = connect(f"unix://{socket}")
    turns = Turns()
    settings = GatewaySettings(host="127.0.0.1", port=0)
    async with listening(create_app(redis, settings)) as (_, port):
        gc.collect()
        gc.freeze()
        for _ in range(bursts):
            words = ("-m", "bench.burst_client", "load", str(port), str(issues))
            load = await asyncio.create_subprocess_exec(
                sys.executable, *words, stdin=PIPE, stdout=PIPE
            )
            turns.start()
            said, _ = await load.communicate(body)
            turns.stop()
            if json.loads(said)["taken"] != issues:
                sys.exit("not all submissions were taken")
    await redis.close()
    return {"turns": len(turns.took_ms), "worst_ms": max(turns.took_ms), **spread(turns.took_ms)}


def measure(socket: Path, job: object, issues: int, bursts: int) -> dict[str, float]:
    """Turns that did something, and how long they took (ms)."""
    os.environ["DURABILITY_FORCE"] = "true"  # noqa: TID251 - for the gateway in this process
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_bursts(socket, json.dumps(job).encode(), issues, bursts))
