"""`credstream keys create | list | revoke`: API keys, from the command line.

It talks to Redis itself, so that the first key can be made before anybody has one.
"""

import asyncio
import getpass
import re
import time
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from credstream.commands.serve import given, say
from credstream.sentences import Told

if TYPE_CHECKING:
    from streams import Redis
    from streams.access import KeyRecord

_DURATION = re.compile(r"([1-9][0-9]{0,4})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
ID_SHOWN_CHARS = 20
"""Of what is no id, and may be most of a key."""
T = TypeVar("T")


class Duration(click.ParamType[int]):
    """`90d`, `12h`: a length of time, in seconds."""

    name = "90d|12h|..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """click's BadParameter says what is wrong."""
        if isinstance(value, int):
            return value
        found = _DURATION.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no length of time, such as 90d, 12h or 30m.", param, ctx)
        return int(found[1]) * _SECONDS[found[2]]


def where(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which Redis is meant."""
    data_dir = click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Where a development server keeps its data.  [default: DATA_DIR]",
    )
    redis_url = click.option(
        "--redis-url",
        help="The Redis that holds the keys.  [default: REDIS_URL or REDIS_HOST; else the "
        "embedded one of the data directory]",
    )
    return data_dir(redis_url(command))


@click.command()
@click.option("--name", required=True, help="What people call it; it stands in the audit record.")
@click.option("--role", help="viewer, submitter, operator or admin.")
@click.option("--scopes", help="submit, read, read:sensitive, operate, admin; commas between.")
@click.option("--organization", help="The tenant it is for.  [default: the platform, all tenants]")
@click.option("--expires", type=Duration(), help="When it ends, from now.  [default: never]")
@where
def create(
    name: str,
    role: str | None,
    scopes: str | None,
    organization: str | None,
    expires: int | None,
    **place: Any,
) -> None:
    """Make an API key and print it: this once, it is kept nowhere.

    The key is the only line on standard output. From the first key on, the gateway lets nobody in
    without one.
    """
    granted = _granted(role, scopes)
    if organization == "" or not 1 <= len(name) <= 128 or not name.isprintable():
        raise click.UsageError("--name takes 1..128 printable characters, --organization a name.")
    if organization is not None and unicodedata.normalize("NFC", organization) != organization:
        raise click.UsageError("--organization must be in Unicode normalization form C (NFC).")
    from schemas.fields import NO_TENANT

    if organization == NO_TENANT:
        told = f"--organization must not be {NO_TENANT}, which stands for jobs without one."
        raise click.UsageError(told)

    async def make(redis: "Redis") -> "tuple[str, KeyRecord]":
        return await _make(redis, name, granted, organization, expires)

    text, record = _with_redis(make, **place)
    click.echo(text)
    whose = record.organization_id or "the platform"
    say(f"{record.id} for {whose}: {', '.join(record.scopes)}. Keep it: it is not shown again.")


@click.command("list")
@click.option("as_json", "--json", is_flag=True, help="Print JSON instead of a table.")
@where
def list_keys(as_json: bool, **place: Any) -> None:
    """List the API keys, newest first, also those that expired or were revoked."""

    async def read(redis: "Redis") -> "list[KeyRecord]":
        from streams import access

        found: list[KeyRecord] = []
        while True:
            page = await access.page(redis, len(found), len(found) + access.PAGE_MAX - 1)
            found += page
            if len(page) < access.PAGE_MAX:
                return found

    records = _with_redis(read, **place)
    if as_json:
        rows = [_row(record) for record in records]
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    from credstream.tables import api_keys_table, print_table

    print_table(api_keys_table(records, now_ms=int(time.time() * 1_000)))


@click.command()
@click.argument("key_id")
@where
def revoke(key_id: str, **place: Any) -> None:
    """KEY_ID opens nothing any more, everywhere within 5 seconds. May be repeated.

    A whole key will do as well, for one that was found where it should not be.
    """
    from streams.access import key_id_of

    key_id = key_id_of(key_id) or key_id

    async def end(redis: "Redis") -> bool:
        from streams import access
        from streams.audit import Deed

        record, _ = await access.find(redis, key_id)
        if record is None:
            return False
        said = {"name": record.name}
        deed = Deed(_actor(), "key.revoke", key_id, record.organization_id, parameters=said)
        return await access.revoke(redis, key_id, deed.encode())

    if not _with_redis(end, **place):
        raise Told(
            f"There is no API key {key_id[:ID_SHOWN_CHARS]}; credstream keys list shows them all."
        )
    say(f"{key_id} is revoked.")


COMMANDS = (create, list_keys, revoke)


def _granted(role: str | None, scopes: str | None) -> tuple[str, ...]:
    """The scopes. Raises click's UsageError."""
    from gateway.principal import GRANTED, ROLES

    if (role is None) == (scopes is None):
        raise click.UsageError("Give either --role or --scopes.")
    if role is not None:
        if role not in ROLES:
            raise click.UsageError(f"--role must be one of {', '.join(ROLES)}.")
        wanted = {scope.value for scope in ROLES[role]}
    else:
        wanted = {word.strip() for word in str(scopes).split(",") if word.strip()}
        unknown = wanted - {scope.value for scope in GRANTED}
        if unknown or not wanted:
            raise click.UsageError(f"--scopes must be some of {', '.join(GRANTED)}.")
    return tuple(scope.value for scope in GRANTED if scope.value in wanted)


async def _make(
    redis: "Redis",
    name: str,
    scopes: tuple[str, ...],
    organization: str | None,
    expires: int | None,
) -> "tuple[str, KeyRecord]":
    from consumers.settings import WorkerSettings
    from streams import access
    from streams.audit import Deed

    text, key_id = access.mint("live" if WorkerSettings().production else "dev")
    _, now_ms = await access.find(redis, key_id)
    ends_ms = None if expires is None else now_ms + 1_000 * expires
    new = access.NewKey(name, scopes, organization, ends_ms)
    said = {"name": name, "scopes": scopes, "expiresAt": ends_ms}
    deed = Deed(_actor(), "key.create", key_id, organization, parameters=said)
    return text, await access.create(redis, text, new, _actor(), deed.encode())


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in a container
        return "cli"


def _with_redis(
    what: "Callable[[Redis], Awaitable[T]]", data_dir: Path | None, redis_url: str | None
) -> T:
    from consumers.settings import WorkerSettings
    from credstream.commands.keys import embedded
    from streams import connect

    async def run() -> T:
        settings = WorkerSettings(**given(data_dir=data_dir))
        redis = connect(redis_url or embedded(settings))
        try:
            return await what(redis)
        finally:
            await redis.close()

    return asyncio.run(run())


def _row(record: "KeyRecord") -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": record.scopes,
        "organizationId": record.organization_id,
        "createdAt": record.created_ms,
        "createdBy": record.maker,
        "expiresAt": record.expires_ms,
        "revokedAt": record.revoked_ms,
    }
