"""`credstream keys`: what an operator does with keys from the command line."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from credstream.commands import api_keys
from credstream.commands.serve import given, say
from credstream.sentences import EXIT_REFUSED

if TYPE_CHECKING:
    from consumers.rotation import Report
    from consumers.settings import WorkerSettings
    from credentials.keyring import Keyring, Purpose

ROTATED: "tuple[Purpose, ...]" = ("issuer", "webhook")
EVERY_SEALS = 1_000
"""How often progress is told."""


@click.group()
def keys() -> None:
    """API keys, and keys at rest."""


for command in api_keys.COMMANDS:
    keys.add_command(command)


@keys.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where a development server keeps its data and its key ring.  [default: DATA_DIR]",
)
@click.option(
    "--redis-url",
    help="The Redis that holds the keys.  [default: REDIS_URL or REDIS_HOST; else the embedded "
    "one of the data directory]",
)
def rotate(data_dir: Path | None, redis_url: str | None) -> None:
    """Seal every stored key under the first key-encryption key of its ring: private keys of DIDs
    (CREDSTREAM_KEKS), keys that sign webhooks (CREDSTREAM_WEBHOOK_KEKS).

    Add the new key-encryption key at the end of its ring and restart the processes that have it,
    so that all can read it; put it in front and restart them again; then run this, with the same
    rings. Older ones may be taken out once it says "complete": true. It may be interrupted at any
    point and run again, while everything is at work. Jobs of sealed queues (CREDSTREAM_DATA_KEKS)
    are not sealed anew: keep the old key for as long as the queue keeps its jobs.

    Prints a JSON summary by ring; progress goes to standard error. Exit codes: 0 everything is
    sealed under the active keys, 1 something is not (the summary says what), 2 a ring or a setting
    is not valid, 3 no Redis there.
    """
    reports = asyncio.run(_rotate(data_dir, redis_url))
    complete = all(report.complete for report in reports.values())
    rings = {purpose: report.as_json() for purpose, report in reports.items()}
    summary = {"complete": complete, "rings": rings}
    click.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
    if not complete:
        sys.exit(EXIT_REFUSED)


async def _rotate(data_dir: Path | None, redis_url: str | None) -> "dict[str, Report]":
    from consumers.rotation import rotate as rotate_all
    from consumers.settings import WorkerSettings
    from streams import connect

    settings = WorkerSettings(**given(data_dir=data_dir))
    rings = _rings(settings)
    redis = connect(redis_url or embedded(settings))
    try:
        await redis.ping()
        return {ring.purpose: await rotate_all(redis, ring, _Progress()) for ring in rings}
    finally:
        await redis.close()


def _rings(settings: "WorkerSettings") -> "list[Keyring]":
    """Every ring that is here and seals keys. Raises KeyringError where there is none at all."""
    from credentials.keyring import KeyringError, KeyringSettings, configured_keyring

    found = [
        configured_keyring(
            KeyringSettings(), settings.data_dir, production=settings.production, purpose=purpose
        )
        for purpose in ROTATED
    ]
    rings = [ring for ring in found if ring is not None]
    if not rings:
        raise KeyringError(
            "No key-encryption key: set CREDSTREAM_KEKS or CREDSTREAM_WEBHOOK_KEKS (or a _FILE)."
        )
    return rings


def embedded(settings: "WorkerSettings") -> str | None:
    """The running server of a data directory, if no Redis is named anywhere."""
    from credstream.commands.up import names_a_redis
    from credstream.datadir import socket_path
    from credstream.embedded import EmbeddedValkey

    if settings.data_dir is None or names_a_redis(None):
        return None
    data_dir = settings.data_dir.expanduser().absolute()
    return EmbeddedValkey(data_dir).url if socket_path(data_dir).exists() else None


class _Progress:
    """Tells now and then how far a rotation is."""

    def __init__(self) -> None:
        self._told = 0

    def __call__(self, report: "Report") -> None:
        if report.resealed - self._told >= EVERY_SEALS:
            self._told = report.resealed
            say(f"{report.resealed} seals renewed so far")
