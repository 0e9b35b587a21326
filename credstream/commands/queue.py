"""`credstream queue`: what is done to whole queues, over HTTP."""

import asyncio
from typing import Any

import click
import orjson

from credstream.commands.client import where


@click.group()
def queue() -> None:
    """Limit, drain and delete queues, with a platform key."""


class Bound(click.ParamType[int | str]):
    """A positive number, or `none`."""

    name = "NUMBER|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """The number, or `none`."""
        text = str(value)
        if text != "none" and not (text.isdecimal() and int(text) > 0):
            self.fail(f"{text!r} is neither a number above 0 nor `none`.", param, ctx)
        return text if text == "none" else int(text)


@queue.command()
@click.argument("name")
@click.option("--concurrency", type=Bound(), help="Jobs active at once, over all workers.")
@click.option("--backlog", type=Bound(), help="Jobs that have not ended; further ones are refused.")
@where
def limits(
    name: str, concurrency: int | str | None, backlog: int | str | None, **gateway: Any
) -> None:
    """Print the limits of the queue NAME as JSON, after setting those that are given."""
    wanted = {"concurrency": concurrency, "backlog": backlog}
    given = {
        key: None if value == "none" else value
        for key, value in wanted.items()
        if value is not None
    }
    found = asyncio.run(_limits(name, given, gateway))
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))


async def _limits(name: str, given: dict[str, Any], gateway: dict[str, Any]) -> dict[str, Any]:
    from credstream.client import Client

    async with Client(**gateway) as client:
        found = await client.limits(name)
        if given:
            kept = {"limiter": found.limiter, "concurrency": found.concurrency}
            found = await client.set_limits(name, **{**kept, **given})
    return found.model_dump(by_alias=True)


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
