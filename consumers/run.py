"""One worker process, from settings to exit."""

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from consumers.discovery import choose
from consumers.hooks import logging as job_log
from consumers.hooks import metrics as job_numbers
from consumers.hooks import minutes
from consumers.metrics import WorkerMetrics
from consumers.probes import Watched, probes
from consumers.processor import NotConfigured, Processor, Resources
from consumers.rotation import keks_at_boot
from consumers.settings import WorkerSettings
from consumers.worker import Worker
from streams import Redis, RedisSettings, connect, durability
from streams.durability import insist
from streams.errors import CredstreamError
from streams.settings import readable

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0


async def run_workers(
    settings: WorkerSettings,
    redis: Redis | RedisSettings | None = None,
    observe: Callable[[Worker], object] | None = None,
) -> None:
    """Work until SIGTERM or SIGINT, drain, return. A second signal gives running jobs back at once.

    `redis`: a handle that stays the caller's, or what to connect to (None: the environment);
    `observe` is called with every worker before it begins (consumers.hooks.tracing, for one).
    Raises NoProcessor for a queue nobody can process, and what a processor's `open` raises.
    """
    stopping, hurry = _on(signal.SIGTERM, signal.SIGINT)
    handle = redis if isinstance(redis, Redis) else connect(redis)
    if (host := readable(handle.address)) is not None:
        logger.warning("Redis at %s is reached without TLS; rediss:// would encrypt it", host)
    try:
        async with AsyncExitStack() as stack:
            standing = await insist(handle)
            keks = await keks_at_boot(handle) if standing else frozenset()
            resources = Resources(handle, settings.data_dir, settings.production, keks)
            workers, idle = await _open(settings, resources, stack)
            for worker in workers:
                if observe is not None:
                    observe(worker)
            await stack.enter_async_context(minutes.counted(handle, workers))
            numbers = [job_numbers.attach(worker) for worker in workers]
            metrics = WorkerMetrics(handle, numbers)
            metrics.standing = standing
            telling = asyncio.create_task(_tell_standing(handle, metrics))
            stack.callback(telling.cancel)
            watched = Watched(handle, stopping, idle, metrics)
            await stack.enter_async_context(
                probes(settings.probe_host, settings.probe_port, watched)
            )
            names = ", ".join(worker.spec.name for worker in workers) or "nothing"
            logger.info("working on %s, %d at once each", names, settings.queue_concurrency)
            await _work(workers, stopping, hurry)
            logger.info("all jobs finished or given back")
    finally:
        if handle is not redis:
            await handle.close()


async def _tell_standing(redis: Redis, metrics: WorkerMetrics) -> None:
    """Say what speaks against the durability level; first find out, where Redis was away."""
    while (standing := metrics.standing) is None:
        await asyncio.sleep(LOOK_AGAIN_S)
        with suppress(CredstreamError):
            metrics.standing = await durability.standing(redis)
    for check in standing.wrong:
        logger.warning("%s of Redis: %s %s", check.name, check.says, check.fix)


async def _open(
    settings: WorkerSettings, resources: Resources, stack: AsyncExitStack
) -> tuple[list[Worker], dict[str, str]]:
    """The workers, and by queue why some do not start."""
    workers: list[Worker] = []
    idle: dict[str, str] = {}
    for processor in choose(settings.processors, settings.wanted):
        try:
            state = await _state(processor, resources, stack)
        except NotConfigured as error:
            idle[processor.spec.name] = str(error)
            logger.warning("not working on %s: %s", processor.spec.name, error)
            continue
        worker = Worker(
            processor,
            concurrency=settings.queue_concurrency,
            redis=resources.redis,
            drain_timeout_s=settings.drain_timeout_s,
        )
        worker.state = state
        job_log.attach(worker)
        workers.append(worker)
    return workers, idle


async def _state(processor: Processor, resources: Resources, stack: AsyncExitStack) -> object:
    if processor.open is None:
        return None
    return await stack.enter_async_context(processor.open(resources))


async def _work(workers: list[Worker], stopping: asyncio.Event, hurry: asyncio.Event) -> None:
    """Run all until told to stop; a worker that cannot go on ends the process."""
    running = [asyncio.create_task(worker.run(), name=worker.spec.name) for worker in workers]
    told = asyncio.create_task(stopping.wait())
    await asyncio.wait([told, *running], return_when=asyncio.FIRST_COMPLETED)
    stopping.set()
    for worker in workers:
        worker.stop()
    hurrying = asyncio.create_task(_hurry(workers, hurry))
    try:
        await asyncio.gather(*running)
        await told
    finally:
        hurrying.cancel()


async def _hurry(workers: list[Worker], hurry: asyncio.Event) -> None:
    await hurry.wait()
    for worker in workers:
        worker.hurry()


def _on(*signals: signal.Signals) -> tuple[asyncio.Event, asyncio.Event]:
    """Set at the first of these signals, and at the second."""
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def heard() -> None:
        (second if first.is_set() else first).set()

    for number in signals:
        loop.add_signal_handler(number, heard)
    return first, second
