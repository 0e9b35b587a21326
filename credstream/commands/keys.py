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
    """Seal every stored key under the first key-encryption key of the ring.

    Add the new key-encryption key at the end of CREDSTREAM_KEKS (or its file) and restart the
    workers and gateways, so that all can read it; put it in front and restart them again; then
    run this, with the same ring. Older ones may be taken out once it says "complete": true. It
    may be interrupted at any point and run again, while everything is at work.

    Prints a JSON summary; progress goes to standard error. Exit codes: 0 everything is sealed
    under the active key, 1 something is not (the summary says what), 2 the ring or a setting is
    not valid, 3 no Redis there.
    """
    report = asyncio.run(_rotate(data_dir, redis_url))
    click.echo(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
    if not report.complete:
        sys.exit(EXIT_REFUSED)


async def _rotate(data_dir: Path | None, redis_url: str | None) -> "Report":
    from consumers.rotation import rotate as rotate_all
    from consumers.settings import WorkerSettings
    from credentials.keyring import KeyringSettings, open_keyring
    from streams import connect

    settings = WorkerSettings(**given(data_dir=data_dir))
    ring = open_keyring(KeyringSettings(), settings.data_dir, production=settings.production)
    redis = connect(redis_url or embedded(settings))
    try:
        await redis.ping()
        return await rotate_all(redis, ring, _Progress())
    finally:
        await redis.close()


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
