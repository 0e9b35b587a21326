"""`credstream up`: a whole Credstream on one machine, with one command."""

import asyncio
import errno
import signal
import socket
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import click

from credstream.commands.serve import (
    MARGIN_S,
    gateway_settings,
    given,
    program,
    refuse_exposure,
    say,
)
from credstream.datadir import default_data_dir
from credstream.embedded import STOP_S, EmbeddedValkey
from credstream.process import Command, spawn
from credstream.running import recorded
from credstream.sentences import Told, WrongUsage
from credstream.supervise import Service, Supervisor, supervising

READY_POLL_S = 0.05
LOOPBACK = "127.0.0.0/8,::1/128"


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything is going to be."""

    host: str
    port: int
    data_dir: Path
    redis_url: str | None
    """None: the embedded Valkey."""
    embedded: bool
    gateway_grace_s: float
    worker_grace_s: float
    is_own_address: bool = True
    """No PUBLIC_URL is set: what is hosted is reached at `url`."""
    captures_mail: bool = False
    """Mail is kept as files and not sent."""
    calls_loopback: bool = False
    """Webhooks may go to http:// addresses of this machine."""
    redis_port: int = 0
    """Port of 127.0.0.1 on which the embedded Valkey listens, too; 0: none."""

    @property
    def url(self) -> str:
        """Where a browser or curl on this machine finds the gateway."""
        here = ("127.0.0.1", "::1", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
        host = "localhost" if self.host in here else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@click.command()
@click.option("--host", help="Address to listen on.  [default: HOST or 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65_535), help="[default: PORT or 3000]")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where the data lies.  [default: $XDG_DATA_HOME/credstream or ~/.local/share/credstream]",
)
@click.option(
    "--redis-url",
    help="Use this Redis instead of the embedded one.  [default: REDIS_URL, if set]",
)
@click.option(
    "--redis-port",
    type=click.IntRange(1, 65_535),
    help="Port of 127.0.0.1 for the embedded Valkey.  [default: its socket only]",
)
def up(
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    redis_url: str | None,
    redis_port: int | None,
) -> None:
    """Start everything: the embedded Valkey, the gateway and the consumers.

    For development. Ctrl-C stops it in order; jobs and data are there again at the next start.
    """
    plan = replace(_plan(host, port, data_dir, redis_url), redis_port=redis_port or 0)
    if redis_port is not None and not plan.embedded:
        raise WrongUsage("--redis-port is for the embedded Valkey; another Redis is named here.")
    asyncio.run(_up(plan))
    say("Stopped. Everything is stored.")


def _plan(host: str | None, port: int | None, data_dir: Path | None, redis_url: str | None) -> Plan:
    from consumers.mail.settings import MailSettings
    from consumers.settings import WorkerSettings
    from credentials.settings import CredentialSettings
    from outbound.settings import OutboundSettings

    gateway = gateway_settings(host=host, port=port)
    worker = WorkerSettings()
    mail = MailSettings().backend
    return Plan(
        host=gateway.host,
        port=gateway.port,
        data_dir=(data_dir or default_data_dir()).expanduser().absolute(),
        redis_url=redis_url,
        embedded=not names_a_redis(redis_url),
        gateway_grace_s=gateway.shutdown_timeout_s + MARGIN_S,
        worker_grace_s=worker.drain_timeout_s + MARGIN_S,
        is_own_address="public_url" not in CredentialSettings().model_fields_set,
        captures_mail=mail == "capture" or (mail is None and not worker.production),
        calls_loopback=not worker.production
        and not OutboundSettings().model_fields_set & {"allow_http", "allow_nets"},
    )


def names_a_redis(redis_url: str | None) -> bool:
    """Whether an option or the environment names a Redis of the user's own."""
    from streams import RedisSettings

    # Checked here, so that a wrong address is told before anything is started.
    settings = RedisSettings(**given(url=redis_url))
    return settings.url is not None or bool("host" in settings.model_fields_set and settings.host)


async def _up(plan: Plan) -> None:
    _check_port(plan.host, plan.port, "--port")
    if plan.redis_port:
        _check_port("127.0.0.1", plan.redis_port, "--redis-port")
    server = EmbeddedValkey(plan.data_dir, plan.redis_port) if plan.embedded else None
    try:
        # Supervised from the first file on: a stop during the start is a stop in order, too.
        async with supervising(say) as supervisor:
            if server is not None:
                await server.open()
            if await supervisor.unless_ended(_start_all(plan, supervisor, server)):
                click.echo(_welcome(plan))
                with (
                    recorded(plan.data_dir, _environment(plan, server)) if server else nullcontext()
                ):
                    await supervisor.wait()
                say("Stopping: requests first, then running jobs, then the data store.")
    finally:
        if server is not None:
            await server.close()


async def _start_all(plan: Plan, supervisor: Supervisor, server: EmbeddedValkey | None) -> None:
    """What is started first is stopped last."""
    if server is not None:
        await supervisor.start(Service("embedded Valkey", server.launch, STOP_S))
    else:
        await _check_redis(plan)
    settings = gateway_settings(host=plan.host, port=plan.port)
    await refuse_exposure(settings, server.url if server is not None else plan.redis_url)
    env = _environment(plan, server)
    # Without its Valkey a worker has nowhere to put results: when the parent is killed, so is it.
    # With a Redis of the user's own it finishes what it runs.
    death = signal.SIGKILL if plan.embedded else signal.SIGTERM

    def service(name: str, grace_s: float) -> Service:
        command = Command(argv=program(name), env=env, death_signal=death)
        return Service(name, lambda: spawn(command), grace_s)

    await supervisor.start(service("worker", plan.worker_grace_s))
    await supervisor.start(service("gateway", plan.gateway_grace_s))
    from credstream.api import Gateway

    async with Gateway(plan.url) as gateway:
        while not await gateway.is_ready():  # noqa: ASYNC110 - another process, no event
            await asyncio.sleep(READY_POLL_S)


def _environment(plan: Plan, server: EmbeddedValkey | None) -> dict[str, str]:
    env = {"HOST": plan.host, "PORT": str(plan.port), "DATA_DIR": str(plan.data_dir)}
    if plan.captures_mail:
        env["MAIL_BACKEND"] = "capture"
    if plan.is_own_address:
        env["PUBLIC_URL"] = plan.url
    if plan.calls_loopback:
        env |= {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOW_NETS": LOOPBACK}
    url = server.url if server is not None else plan.redis_url
    return {**env, "REDIS_URL": url} if url else env


async def _check_redis(plan: Plan) -> None:
    """A Redis that is not there is told at once, before anything waits for it."""
    from streams import connect

    redis = connect(plan.redis_url)
    try:
        await redis.ping()
    finally:
        await redis.close()


def _check_port(host: str, port: int, option: str) -> None:
    """Raise Told if another program listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Told(
                    f"Port {port} is taken by another program, perhaps another credstream. "
                    f"Choose another one with {option}."
                ) from None
            raise


def _welcome(plan: Plan) -> str:
    lines = [
        "",
        "Credstream is up.",
        "",
        f"  API        {plan.url}",
        f"  dashboard  {plan.url}/dashboard",
        f"  API docs   {plan.url}/docs",
        f"  try        curl {plan.url}/queue/stats",
    ]
    if plan.captures_mail:
        lines += ["  mail       is not sent: credstream mail list"]
    if plan.embedded:
        lines += [f"  data       {plan.data_dir}"]
        lines += [f"  Redis      {url}" for url in _redis_urls(plan)]
        lines += [
            "",
            *_python_hint(plan),
            "The data survives restarts. The embedded Valkey is for development: in production",
            "give REDIS_URL a Redis of your own.",
        ]
    else:
        lines += ["  Redis      your own"]
    return "\n".join([*lines, "", "Ctrl-C stops everything in order.", ""])


def _redis_urls(plan: Plan) -> list[str]:
    """Where programs of this user reach the embedded Valkey."""
    urls = [EmbeddedValkey(plan.data_dir).url]
    return [*urls, f"redis://127.0.0.1:{plan.redis_port}"] if plan.redis_port else urls


def _python_hint(plan: Plan) -> list[str]:
    """How a Python program finds the jobs of this `up`."""
    if plan.data_dir.resolve() == default_data_dir().resolve():
        return ["credstream.connect() in a Python program of this user finds it by itself."]
    return ["In a Python program: credstream.connect(<the address of Redis above>)."]
