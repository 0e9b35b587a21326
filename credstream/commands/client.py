"""`credstream submit` and `credstream stats`: they talk to a gateway over HTTP."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from credstream.sentences import EXIT_REFUSED

if TYPE_CHECKING:
    from credstream.client import Client

DEFAULT_URL = "http://localhost:3000"


class ApiKey(click.ParamType[str]):
    """An API key or a token: written out, or `@file`, which other users of a machine cannot see."""

    name = "KEY|@file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The key; click's BadParameter says what is wrong, without it."""
        try:
            text = Path(value[1:]).read_text() if value.startswith("@") else value
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            self.fail(f"{value[1:]} cannot be read: {why}.", param, ctx)
        key = text.strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            self.fail("an API key is one word.", param, ctx)
        return key


def where(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which gateway is meant, and who asks it: what a `Client` is made of."""
    url = click.option(
        "--url",
        envvar="CREDSTREAM_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        help="Address of the gateway.",
    )
    key = click.option(
        "--key",
        type=ApiKey(),
        envvar="CREDSTREAM_KEY",
        show_envvar=True,
        help="API key for a gateway that asks for one.",
    )
    return url(key(command))


class JsonData(click.ParamType[dict[str, Any]]):
    """A JSON object: written out, `@file`, or `-` for standard input."""

    name = "JSON|@file|-"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """Parse `value`; click's BadParameter says what is wrong with it."""
        if isinstance(value, dict):
            return value
        try:
            data = orjson.loads(_text_of(value))
        except OSError as error:
            self.fail(f"{value[1:]} cannot be read: {error.strerror}.", param, ctx)
        except orjson.JSONDecodeError as error:
            self.fail(f"this is not JSON: {error}.", param, ctx)
        if not isinstance(data, dict):
            self.fail('must be a JSON object, such as {"key": "value"}.', param, ctx)
        return data


def _text_of(value: str) -> bytes:
    if value == "-":
        return sys.stdin.buffer.read()
    if value.startswith("@"):
        return Path(value[1:]).read_bytes()
    return value.encode()


class JobOption(click.ParamType[tuple[str, Any]]):
    """`name=value`; the value is JSON where it is JSON, else text."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Split at the first `=`."""
        if isinstance(value, tuple):
            return value
        name, equals, text = value.partition("=")
        if not name or not equals:
            self.fail(f"{value!r} is not of the form name=value.", param, ctx)
        try:
            return name, orjson.loads(text)
        except orjson.JSONDecodeError:
            return name, text


@click.command()
@click.argument("queue")
@click.option("--name", help="What the job is called; the queue's name when left out.")
@click.option("--data", type=JsonData(), default="{}", help="The job's data, a JSON object.")
@click.option(
    "options",
    "--option",
    "-o",
    type=JobOption(),
    multiple=True,
    help="A job option, such as priority=1, delay=5000 or attempts=5. May be repeated.",
)
@click.option("--wait", is_flag=True, help="Wait until the job has ended and print it then.")
@where
def submit(
    queue: str,
    name: str | None,
    data: dict[str, Any],
    options: tuple[tuple[str, Any], ...],
    wait: bool,
    **gateway: Any,
) -> None:
    """Submit a job to QUEUE and print what the gateway answers, as JSON.

    Exit codes: 0 accepted (with --wait: completed), 1 refused (with --wait: or failed), 2 wrong
    usage, 3 no gateway there.
    """
    from credstream.client import Client

    job: dict[str, Any] = {"data": data}
    if name is not None:
        job["name"] = name
    if options:
        job["options"] = dict(options)
    answer = asyncio.run(_submit(Client(**gateway), queue, job, wait=wait))
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    if wait and answer["state"] == "failed":
        sys.exit(EXIT_REFUSED)


async def _submit(gateway: "Client", queue: str, job: dict[str, Any], *, wait: bool) -> Any:
    async with gateway as client:
        added = await client.submit_as_is(queue, job)
        told = await client.wait_for_end(queue, added.id) if wait else added
    return told.model_dump(by_alias=True, mode="json")


@click.command()
@click.option("as_json", "--json", is_flag=True, help="Print JSON instead of a table.")
@where
def stats(as_json: bool, **gateway: Any) -> None:
    """Print how many jobs lie where, for every queue."""
    from credstream.client import Client

    queues = asyncio.run(_stats(Client(**gateway)))
    if as_json:
        click.echo(orjson.dumps(queues, option=orjson.OPT_INDENT_2))
        return
    from credstream.tables import print_table, stats_table

    print_table(stats_table(queues))


async def _stats(gateway: "Client") -> Any:
    async with gateway as client:
        return [row.model_dump(by_alias=True) for row in await client.stats()]
