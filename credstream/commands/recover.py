"""`credstream recover`: what a Redis needs once after it was restored from a backup."""

import asyncio

import click

from credstream.commands.serve import given


@click.command()
@click.option("--redis-url", help="[default: REDIS_URL, or REDIS_HOST and REDIS_PORT]")
def recover(redis_url: str | None) -> None:
    """Make a Redis that was restored from a backup safe to issue from. Run it before any worker.

    New credentials get new status lists: the restored ones do not know which of their entries were
    given out after the backup. It may be run again.

    Exit codes: 0 done, 2 wrong settings, 3 no Redis there.
    """
    retired = asyncio.run(_retire(redis_url))
    click.echo(f"{retired} status lists take no more credentials; they are served as before.")


async def _retire(redis_url: str | None) -> int:
    from streams import RedisSettings, connect, status

    redis = connect(RedisSettings(**given(url=redis_url)))
    try:
        await redis.ping()
        return await status.retire_open_lists(redis)
    finally:
        await redis.close()
