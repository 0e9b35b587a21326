"""`credstream gateway` and `credstream worker`: one process, or a supervised handful."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from credstream.logs import FORMATS, LEVELS, configure
from credstream.process import Command, spawn
from credstream.sentences import WrongUsage
from credstream.supervise import Service, supervising

if TYPE_CHECKING:
    from consumers.settings import WorkerSettings
    from gateway.settings import GatewaySettings

MARGIN_S = 5.0
"""What a process gets on top of its own shutdown time before it is killed."""

processes_option = click.option(
    "--processes",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="How many processes to run; one that dies is started again.",
)

log_level_option = click.option(
    "--log-level",
    envvar="LOG_LEVEL",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    show_envvar=True,
    help="The least serious lines to log.",
)


log_format_option = click.option(
    "--log-format",
    envvar="LOG_FORMAT",
    type=click.Choice(FORMATS, case_sensitive=False),
    show_envvar=True,
    help="[default: text on a terminal, else json]",
)


def program(*words: str) -> list[str]:
    """The command line of another `credstream`, run by this interpreter."""
    return [sys.executable, "-m", "credstream", *words]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on the fast event loop where there is one."""
    if sys.platform == "win32":
        asyncio.run(main)
        return
    import uvloop

    uvloop.run(main)


def say(message: str) -> None:
    """Tell the person at the terminal, beside what the command prints as its result."""
    click.echo(message, err=True)


async def keep(services: list[Service]) -> None:
    """Run `services` until a stop signal; then stop them all."""
    async with supervising(say) as supervisor:
        for service in services:
            await supervisor.start(service)
        await supervisor.wait()


def copies(name: str, count: int, start: Callable[[int], Command], grace_s: float) -> list[Service]:
    """`count` services that run the same command; `start` is told which one it makes."""

    def service(number: int) -> Service:
        return Service(
            name=f"{name} {number + 1}", start=lambda: spawn(start(number)), grace_s=grace_s
        )

    return [service(number) for number in range(count)]


def given(**options: object) -> dict[str, Any]:
    """The options somebody gave; what is left out comes from the environment or its default."""
    return {name: value for name, value in options.items() if value is not None}


def gateway_settings(**options: object) -> "GatewaySettings":
    """The gateway's settings, from options and the environment."""
    from gateway.settings import GatewaySettings

    return GatewaySettings(**given(**options))


async def refuse_exposure(settings: "GatewaySettings", redis_url: str | None = None) -> None:
    """A bind that would open the gateway to a network by accident is refused, in a sentence."""
    from gateway.run import check_exposure
    from gateway.security import Exposed
    from streams import connect

    redis = connect(redis_url)
    try:
        await check_exposure(settings, redis)
    except Exposed as error:
        raise WrongUsage(str(error)) from None
    finally:
        await redis.close()


@click.command()
@click.option("--host", help="Address to listen on.  [default: HOST or 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="[default: PORT or 3000]")
@processes_option
@log_level_option
@log_format_option
def gateway(
    host: str | None, port: int | None, processes: int, log_level: str, log_format: str | None
) -> None:
    """Serve the HTTP API."""
    settings = gateway_settings(host=host, port=port)
    configure(log_level, log_format)
    asyncio.run(refuse_exposure(settings))
    if processes == 1:
        run(_traced_gateway(settings))
        return
    if settings.port == 0:
        raise click.UsageError("Several processes need a port to share: --port 0 names none.")
    env = {"HOST": settings.host, "PORT": str(settings.port), "REUSE_PORT": "true"}
    env |= _log_environment(log_level, log_format)
    ports = _metrics_ports()

    def copy(number: int) -> Command:
        return Command(argv=program("gateway"), env={**env, **ports(number)})

    grace_s = settings.shutdown_timeout_s + MARGIN_S
    asyncio.run(keep(copies("gateway", processes, copy, grace_s)))


async def _traced_gateway(settings: "GatewaySettings") -> None:
    from credstream.telemetry import tracing
    from gateway.run import serve

    with tracing("gateway") as tracer:
        if tracer is None:
            await serve(settings)
            return
        from gateway.spans import Spans

        await serve(settings, tracing=Spans(tracer))


async def _traced_workers(settings: "WorkerSettings", prepare: Callable[[], object]) -> None:
    from consumers.run import run_workers
    from credstream.telemetry import tracing

    with tracing("worker") as tracer:
        if tracer is None:
            await run_workers(settings, prepare=prepare)
            return
        from consumers.hooks.tracing import attach

        await run_workers(settings, observe=lambda worker: attach(worker, tracer), prepare=prepare)


def _metrics_ports() -> Callable[[int], dict[str, str]]:
    """Where the metrics of each of several gateway processes are: not on the port they share."""
    from gateway.metrics import MetricsSettings

    settings = MetricsSettings()
    if settings.metrics_on != "port":
        if settings.metrics_on == "api":
            say("No metrics: processes that share a port need METRICS_ON=port for them.")
        return lambda _: {"METRICS_ON": "off"}
    return lambda number: {"METRICS_PORT": str(settings.metrics_port + number)}


def _log_environment(level: str, log_format: str | None) -> dict[str, str]:
    return {"LOG_LEVEL": level} | ({"LOG_FORMAT": log_format} if log_format else {})


@click.command()
@click.option("--queues", help="Queues to serve, separated by commas.  [default: QUEUES or all]")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    help="Jobs at once, per queue and process.  [default: QUEUE_CONCURRENCY or 5]",
)
@click.option(
    "--processors",
    help="Files, folders or modules with processors of your own, separated by commas.",
)
@processes_option
@log_level_option
@log_format_option
def worker(
    queues: str | None,
    concurrency: int | None,
    processors: str | None,
    processes: int,
    **logs: str | None,
) -> None:
    """Work on the jobs of one or more queues."""
    from consumers.discovery import choose
    from consumers.settings import WorkerSettings

    options = given(queues=queues, queue_concurrency=concurrency, processors=processors)
    settings = WorkerSettings(**options)
    log_level, log_format = logs["log_level"] or "info", logs["log_format"]
    configure(log_level, log_format)
    if processes == 1:
        run(_traced_workers(settings, partial(configure, log_level, log_format)))
        return
    # What no process could find would otherwise be told once by each of them.
    choose(settings.processors, settings.wanted)

    def copy(number: int) -> Command:
        env = {name.upper(): str(value) for name, value in options.items()}
        if settings.probe_port:
            env["PROBE_PORT"] = str(settings.probe_port + number)
        env |= _log_environment(log_level, log_format)
        return Command(argv=program("worker"), env=env)

    asyncio.run(keep(copies("worker", processes, copy, settings.drain_timeout_s + MARGIN_S)))
