"""`credstream doctor`: whether this Redis and these settings keep what is promised, and if not,
what to change."""

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
import orjson

from credstream.commands.serve import given
from credstream.running import adopt_running
from credstream.sentences import EXIT_REFUSED

if TYPE_CHECKING:
    from credstream.checkup import Configured
    from streams import RedisSettings
    from streams.node import Check

PROMISES = {
    "standard": "what is answered with 2xx survives a crash; a power failure may cost one second",
    "strict": "what is answered with 2xx is on the disk of Redis",
    "replicated": "what is answered with 2xx is on disk and on the replicas asked for",
}
_MARKS = {"ok": "ok  ", "note": "note", "warn": "warn", "fail": "FAIL"}


@click.command()
@click.option("--redis-url", help="[default: REDIS_URL, or REDIS_HOST and REDIS_PORT]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def doctor(redis_url: str | None, as_json: bool) -> None:
    """Check the Redis that Credstream would run on, the settings, and who is at work.

    Give it the environment that gateway or workers have. Beside a running `credstream up` it needs
    none: it takes that one's. Notes are what is right in development and not in production.

    Exit codes: 0 every promise holds, 1 something fails, 2 wrong settings, 3 no Redis there.
    """
    from credstream.checkup import of_settings
    from streams import RedisSettings

    if redis_url is None:
        adopt_running()
    settings = RedisSettings(**given(url=redis_url))
    configured = _read_settings()
    checks = [*asyncio.run(_examine(settings, configured)), *of_settings(configured)]
    holds = all(check.word != "fail" for check in checks)
    level = settings.durability
    if as_json:
        told = {"durability": level, "holds": holds, "checks": [asdict(one) for one in checks]}
        click.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
    else:
        for check in checks:
            click.echo(f"{_MARKS[check.word]}  {check.name}: {check.says}")
            if check.word in ("warn", "fail"):
                click.echo(f"      -> {check.fix}")
        verdict = "holds" if holds else "DOES NOT HOLD"
        click.echo(f"\nDURABILITY={level} {verdict}: {PROMISES[level]}.")
    sys.exit(0 if holds else EXIT_REFUSED)


async def _examine(settings: "RedisSettings", configured: "Configured") -> "list[Check]":
    from credstream.checkup import of_deployment
    from streams import connect
    from streams.examination import examine

    redis = connect(settings)
    try:
        checks = await examine(redis)
        return [*checks, *await of_deployment(redis, configured)]
    finally:
        await redis.close()


def _read_settings() -> "Configured":
    """A setting that is not valid is told before anything is asked of Redis."""
    from consumers.delivery.settings import DeliverySettings
    from credstream.checkup import Configured
    from credstream.telemetry import TelemetrySettings
    from gateway.metrics import MetricsSettings

    for settings in (MetricsSettings, DeliverySettings):
        settings()
    _ = TelemetrySettings().exporters
    return Configured.read()
