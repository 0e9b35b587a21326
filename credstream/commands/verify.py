"""`credstream verify`: judge a token as a vc-verification job does, for people and scripts."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click
import orjson

if TYPE_CHECKING:
    from credentials.resolver import Answer
    from credentials.verify import Verifier
    from outbound.settings import OutboundSettings

_SUFFIXES = (".jwt", ".json", ".txt")
EXIT_INVALID = 1
EXIT_COULD_NOT_TELL = 2
EXIT_USAGE = 64
EXIT_DEFECT = 70
MAX_INPUT_BYTES = 16 * 1024 * 1024


class WrongUse(click.UsageError):
    """Wrong usage, with an exit code that is not that of a verdict."""

    exit_code: ClassVar[int] = EXIT_USAGE


class Defect(click.ClickException):
    """Anything unexpected, likewise."""

    exit_code: ClassVar[int] = EXIT_DEFECT


class Distinct(click.Command):
    """A command whose own troubles never look like a verdict."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As click does; wrong usage is WrongUse."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            raise WrongUse(error.format_message(), error.ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises keeps its message."""
        from credstream.sentences import WrongUsage, tell

        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if ctx.find_root().params.get("debug"):
                raise
            told = tell(error)
            kind = WrongUse if isinstance(told, WrongUsage) else Defect
            raise kind(told.message) from None


class Moment(click.ParamType[float]):
    """A time as RFC 3339 writes it, or in seconds since 1970."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds since 1970."""
        if isinstance(value, float):
            return value
        try:
            return float(value) if value.replace(".", "", 1).isdigit() else _seconds(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-01-31T12:00:00Z.", param, ctx)


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class ById(click.ParamType[dict[str, Any]]):
    """A JSON file: an object by DID or URL, or an array of documents that have an `id`."""

    name = "FILE"

    def __init__(self, what: str, *kinds: type) -> None:
        self._what, self._kinds = what, kinds

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        """The documents by their id."""
        if isinstance(value, dict):
            return value
        from credentials.strict_json import NotJson, loads

        try:
            data = loads(Path(value).read_bytes())
        except OSError as error:
            self.fail(f"{value} cannot be read: {error.strerror}.", param, ctx)
        except NotJson as error:
            self.fail(f"{value} {error}.", param, ctx)
        if isinstance(data, list) and all(isinstance(item, dict) for item in data):
            data = {str(item.get("id")): item for item in data}
        if not isinstance(data, dict):
            self.fail(f"{value} must be a JSON object, or an array of objects.", param, ctx)
        if "id" in data:  # one document alone is an object, too
            data = {data["id"]: data} if isinstance(data["id"], str) else {"": data["id"]}
        for name, item in data.items():
            if not isinstance(item, self._kinds) or (":" not in name):
                self.fail(
                    f"{value} must hold {self._what} under their DIDs or URLs, or one with an "
                    "`id` that is one.",
                    param,
                    ctx,
                )
        return data


@dataclass(frozen=True, slots=True)
class Offline:
    """What is given in files instead of being fetched."""

    documents: Mapping[str, Any]
    bodies: Mapping[str, Any]
    insecure: bool


@click.command(cls=Distinct)
@click.argument("given", metavar="JWT|FILE|-")
@click.option("--presentation", is_flag=True, help="It must be a presentation, not a credential.")
@click.option("--verifier", help="Who verifies: the DID or URL that its audience must contain.")
@click.option("--nonce", help="The challenge that the token must carry.")
@click.option("--clock", type=Moment(), help="Judge as of this time.  [default: now]")
@click.option(
    "--did-docs", type=ById("documents", dict), help="DID documents to use instead of the network."
)
@click.option(
    "--status-lists", type=ById("tokens", str, dict), help="Status lists (tokens) by URL."
)
@click.option(
    "--schemas",
    type=ById("schemas or tokens", str, dict, bool),
    help="JSON schemas, or tokens with one, by URL.",
)
@click.option(
    "--allow-insecure-hosts",
    is_flag=True,
    help="Also fetch over http and from private addresses. For tests only.",
)
def verify(given: str, presentation: bool, allow_insecure_hosts: bool, **options: Any) -> None:
    """Verify a credential: a VC-JWT or an EnvelopedVerifiableCredential.

    It is given as such, in a FILE, or with - on standard input. Prints what a vc-verification job
    answers, as JSON. Exit codes: 0 valid, 1 invalid, 2 could not tell (something could not be
    fetched), 64 wrong usage, 70 a defect.
    """
    from credentials.verify import Expected

    text = _text_of(given)
    verifier, nonce = options["verifier"], options["nonce"]
    expected = Expected(
        kind="presentation" if presentation else "credential",
        audience=frozenset([verifier] if verifier else []),
        nonce=nonce,
    )
    offline = Offline(
        documents=options["did_docs"] or {},
        bodies={**(options["status_lists"] or {}), **(options["schemas"] or {})},
        insecure=allow_insecure_hosts,
    )
    answer, exit_code = asyncio.run(_verify(text, expected, offline, options["clock"]))
    click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    sys.exit(exit_code)


async def _verify(
    text: str, expected: Any, offline: Offline, clock_s: float | None
) -> tuple[dict[str, Any], int]:
    from credentials.verdict import CouldNotTell, invalid

    async with _verifier(offline, clock_s) as verifier:
        try:
            verdict = await verifier.verify(text, expected)
        except CouldNotTell as error:
            return invalid(error).result(), EXIT_COULD_NOT_TELL
    if verdict.valid:
        return verdict.result(), 0
    # A job fails closed on what it may not fetch; a person is told that nobody looked.
    unseen = str(verdict.code).endswith(("_RETRIEVAL_ERROR", "_BLOCKED"))
    return verdict.result(), EXIT_COULD_NOT_TELL if unseen else EXIT_INVALID


@asynccontextmanager
async def _verifier(offline: Offline, clock_s: float | None) -> AsyncIterator["Verifier"]:
    from consumers.verification import FAILURES, REFUSALS, DocumentFetcher
    from credentials.resolver import Resolver
    from credentials.settings import CredentialSettings
    from credentials.verify import Verifier
    from outbound.client import open_client

    async with open_client(_outbound(offline)) as client:
        fetcher = DocumentFetcher(client)
        fetch = _either(fetcher.fetch_document) if offline.insecure else fetcher.fetch_document
        resolver = Resolver(
            fetch, documents=offline.documents, refusals=REFUSALS, failures=FAILURES
        )

        async def retrieve(url: str, max_bytes: int, accept: str) -> bytes:
            if url in offline.bodies:
                body = offline.bodies[url]
                return body.encode() if isinstance(body, str) else orjson.dumps(body)
            return await fetcher.fetch_body(url, max_bytes, accept)

        yield Verifier(
            resolver.resolve,
            retrieve,
            clock=time.time if clock_s is None else lambda: clock_s,
            skew_s=CredentialSettings().clock_skew_s,
        )


def _outbound(offline: Offline) -> "OutboundSettings":
    from outbound.networks import parse_allowance
    from outbound.settings import OutboundSettings

    settings = OutboundSettings()
    if not offline.insecure:
        return settings
    anywhere = tuple(map(parse_allowance, ("0.0.0.0/0", "::/0")))
    every = {"allow_nets": anywhere, "allow_ports": ((1, 65_535),)}
    return settings.model_copy(update={"allow_http": True, "own": (), **every})


def _either(
    fetch: Callable[[str, int], Awaitable["Answer"]],
) -> Callable[[str, int], Awaitable["Answer"]]:
    """A did:web of a test may have no TLS: http is tried when https does not answer."""
    from consumers.verification import FAILURES

    async def either(url: str, max_bytes: int) -> "Answer":
        try:
            return await fetch(url, max_bytes)
        except FAILURES:
            return await fetch(url.replace("https://", "http://", 1), max_bytes)

    return either


def _text_of(given: str) -> str:
    """The token: the argument itself, or what is in the file of that name or in standard input."""
    if given == "-":
        raw = sys.stdin.buffer.read(MAX_INPUT_BYTES)
    else:
        path = Path(given)
        try:
            is_file = path.is_file()
        except (OSError, ValueError):  # longer than a name may be
            is_file = False
        if not is_file:
            named = (given[:1] in "./~" and "/" in given) or path.suffix in _SUFFIXES
            # A token has dots in it, an envelope braces: one word without them is a name.
            if named or re.fullmatch(r"[\w~/\\-]+", given):
                raise WrongUse(f"There is no file {given[:100]}, and this is no token either.")
            return given
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_INPUT_BYTES)
        except OSError as error:
            raise WrongUse(f"{given} cannot be read: {error.strerror}.") from None
    return raw.decode("utf-8", errors="replace").strip(" \t\r\n")
