"""One worker process, from settings to exit."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection

from consumers.discovery import choose
from consumers.hooks import logging as job_log
from consumers.hooks import metrics as job_numbers
from consumers.hooks import minutes
from consumers.metrics import WorkerMetrics
from consumers.probes import Watched, probes
from consumers.processor import NotConfigured, Processor, Resources
from consumers.rotation import keks_at_boot, ring_for
from consumers.settings import WorkerSettings
from consumers.tester import TesterPlan, delegate, when_parent_ends
from consumers.worker import Worker
from credentials.payload_cipher import configured_cipher
from streams import Redis, RedisSettings, connect, durability
from streams.durability import Standing, insist
from streams.errors import CredstreamError
from streams.settings import readable

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0


async def run_workers(
    settings: WorkerSettings,
    redis: Redis | RedisSettings | None = None,
    observe: Callable[[Worker], object] | None = None,
    prepare: Callable[[], object] | None = None,
) -> None:
    """Work until SIGTERM or SIGINT, drain, return. A second signal gives running jobs back at once.

    `redis`: a handle that stays the caller's, or what to connect to (None: the environment);
    `observe` is called with every worker before it begins (consumers.hooks.tracing, for one);
    `prepare`, which can be pickled, is called first in the child processes that run suspects.
    Raises NoProcessor for a queue nobody can process, and what a processor's `open` raises.
    """
    stopping, hurry = stops()
    async with AsyncExitStack() as stack:
        handle, standing = await stack.enter_async_context(reached(redis))
        keks = await keks_at_boot(handle) if standing else frozenset()
        resources = Resources(handle, settings.data_dir, settings.production, keks)
        handle.cipher = configured_cipher(settings.data_dir, production=settings.production)
        workers, idle = await _open(settings, resources, stack)
        for worker in workers:
            _delegate_suspects(worker, settings, prepare)
            if observe is not None:
                observe(worker)
        await stack.enter_async_context(minutes.counted(handle, workers))
        metrics = WorkerMetrics(handle, [job_numbers.attach(worker) for worker in workers])
        metrics.standing = standing
        await stack.enter_async_context(told(settings, handle, stopping, metrics, idle))
        names = ", ".join(worker.spec.name for worker in workers) or "nothing"
        logger.info("working on %s, %d at once each", names, settings.queue_concurrency)
        await _work(workers, stopping, hurry)
        logger.info("all jobs finished or given back")


async def run_tester(plan: TesterPlan, ready: Connection) -> None:
    """Run the suspects of one queue in a child process; end with its parent. `ready` is told when
    the processor is open."""
    stopping, hurry = stops()
    when_parent_ends(stopping.set)
    async with AsyncExitStack() as stack:
        handle = connect(plan.redis)
        stack.push_async_callback(handle.close)
        settings = plan.settings
        resources = Resources(handle, settings.data_dir, settings.production)
        handle.cipher = configured_cipher(settings.data_dir, production=settings.production)
        workers, _ = await _open(settings, resources, stack)
        for worker in workers:
            worker.suspects.parent = plan.parent
            ready.send(True)
            await stack.enter_async_context(minutes.counted(handle, workers))
            await _work(workers, stopping, hurry)


def _delegate_suspects(
    worker: Worker, settings: WorkerSettings, prepare: Callable[[], object] | None
) -> None:
    its = settings.model_copy(update={"queues": worker.spec.name, "probe_port": 0})
    plan = TesterPlan(run_tester, its, worker.redis.settings, worker.name, prepare)
    worker.suspects.delegate = partial(delegate, plan)


@asynccontextmanager
async def reached(
    redis: Redis | RedisSettings | None,
) -> AsyncIterator[tuple[Redis, Standing | None]]:
    """The handle given or one of our own, closed at the end, and whether Redis keeps what the
    durability level promises (None: it is away). Raises NotKept where that refuses it."""
    handle = redis if isinstance(redis, Redis) else connect(redis)
    if (host := readable(handle.address)) is not None:
        logger.warning("Redis at %s is reached without TLS; rediss:// would encrypt it", host)
    try:
        yield handle, await insist(handle)
    finally:
        if handle is not redis:
            await handle.close()


@asynccontextmanager
async def told(
    settings: WorkerSettings,
    redis: Redis,
    stopping: asyncio.Event,
    metrics: WorkerMetrics,
    idle: Mapping[str, str] | None = None,
) -> AsyncIterator[None]:
    """Inside the block probes and metrics are served, and the log has what speaks against the
    durability level. `idle`: by queue why it is not worked on."""
    watched = Watched(redis, stopping, idle or {}, metrics)
    telling = asyncio.create_task(_tell_standing(redis, metrics))
    try:
        async with probes(settings.probe_host, settings.probe_port, watched):
            yield
    finally:
        telling.cancel()


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
        worker.lease.exits = True
        job_log.attach(worker)
        workers.append(worker)
    return workers, idle


async def _state(processor: Processor, resources: Resources, stack: AsyncExitStack) -> object:
    """What calls find as `context.state`. Raises KeyringError for a queue that must be sealed."""
    if processor.spec.sealed == "always" and resources.redis.cipher is None:
        ring_for(resources, "data")
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


def stops() -> tuple[asyncio.Event, asyncio.Event]:
    """Set at the first SIGTERM or SIGINT, and at the second."""
    loop = asyncio.get_running_loop()
    first, second = asyncio.Event(), asyncio.Event()

    def heard() -> None:
        (second if first.is_set() else first).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard)
    return first, second
