"""From text to a statement that its signer really made, and that is in force: the part of
verification that credentials, presentations, status lists and schemas have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from credentials.envelopes import is_envelope, not_accepted, unwrap
from credentials.reading import read
from credentials.signatures import Keys, authenticate
from credentials.statements import Kind, Statement
from credentials.strict_json import NotJson, load_object
from credentials.token import Token, parse
from credentials.verdict import Invalid
from schemas.queues.vc_verification import MAX_TOKEN_CHARS

Clock = Callable[[], float]
"""Now, in seconds since 1970."""

INLINE_CHARS = 8 * 1024
"""Longer texts are parsed in a thread, so that the event loop is not held."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads tokens and authenticates them."""

    keys: Keys
    clock: Clock
    skew_s: float = 30

    async def read(
        self, text: str, kind: Kind, *, max_chars: int = MAX_TOKEN_CHARS
    ) -> tuple[Token, Statement]:
        """Everything that needs no network: parsing, type, data model, times. Believe nothing yet.

        Raises Invalid.
        """
        is_long = INLINE_CHARS < len(text) <= max_chars
        compute = self.keys.compute_long if is_long else self.keys.compute
        token, statement = await compute(_read, text, kind, max_chars)
        now_s = self.clock()
        for window in statement.windows:
            window.check(now_s, self.skew_s)
        return token, statement

    async def authentic(
        self, text: str, kind: Kind = "credential", *, max_chars: int = MAX_TOKEN_CHARS
    ) -> Statement:
        """`read`, then the signature. Raises Invalid, CouldNotTell."""
        token, statement = await self.read(text, kind, max_chars=max_chars)
        await authenticate(token, statement, self.keys)
        return statement


def _read(text: str, kind: Kind, max_chars: int) -> tuple[Token, Statement]:
    enveloped = len(text) <= max_chars and is_envelope(text)
    if enveloped:
        text = _unwrap(text, kind)
    token = parse(text, max_chars=max_chars)
    statement = read(token, kind)
    if enveloped:
        check_enveloped(statement)
    return token, statement


def check_enveloped(statement: Statement) -> None:
    """An envelope is a thing of data model 2.0, as its media types are. Raises Invalid."""
    if statement.version != "2.0":
        raise not_accepted("An envelope holds a token of data model 2.0, and this one is of 1.1.")


def _unwrap(text: str, kind: Kind) -> str:
    try:
        return unwrap(load_object(text.encode()), kind)
    except (NotJson, UnicodeEncodeError):
        raise Invalid("PARSING_ERROR", "This is neither a token nor JSON with one in it.") from None
