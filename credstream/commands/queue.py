"""`credstream queue`: what is done to whole queues, over HTTP."""

import asyncio
from typing import Any

import click

from credstream.commands.client import where


@click.group()
def queue() -> None:
    """Drain and delete queues. Both take a platform key."""


@queue.command()
@click.argument("name")
@click.option("--delayed", is_flag=True, help="Delayed jobs as well, not only waiting ones.")
@click.confirmation_option(prompt="The jobs are removed for good. Go on?")
@where
def drain(name: str, delayed: bool, **gateway: Any) -> None:
    """Remove all jobs of the queue NAME that have not started. They owe no callback."""
    removed = asyncio.run(_drain(name, delayed=delayed, gateway=gateway))
    click.echo(f"Removed {removed} jobs of queue {name}.")


async def _drain(name: str, *, delayed: bool, gateway: dict[str, Any]) -> int:
    from credstream.client import Client

    async with Client(**gateway) as client:
        return await client.drain(name, delayed=delayed)


@queue.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Also while jobs run or workers live: those are lost.")
@click.confirmation_option(prompt="The queue is deleted with all of its jobs. Go on?")
@where
def delete(name: str, force: bool, **gateway: Any) -> None:
    """Delete the custom queue NAME with all it has; its audit record stays."""
    asyncio.run(_delete(name, force=force, gateway=gateway))
    click.echo(f"Deleted queue {name}.")


async def _delete(name: str, *, force: bool, gateway: dict[str, Any]) -> None:
    from credstream.client import Client

    async with Client(**gateway) as client:
        await client.delete_queue(name, force=force)
