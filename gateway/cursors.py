"""Places in lists of jobs as clients get them: opaque, and telling nothing of others' jobs.

A page of an organization ends behind the last job that was looked at, which may be another's. The
place of a delayed job holds its id, so it is sealed; other places hold numbers only.
"""

import base64
import binascii
from contextlib import suppress

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gateway.keys import REDIS
from schemas.job import State
from streams import Redis
from streams.looking import is_cursor
from streams.search import cursor_secret


class PageCursors:
    """Packs and unpacks cursors; all gateways of an installation share the secret."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seal: AESSIV | None = None

    async def pack(self, state: State, cursor: str) -> str | None:
        """A cursor as clients get it, the same for the same place; None at the end.

        Raises Unavailable."""
        if not cursor:
            return None
        text = cursor.encode()
        if state is State.DELAYED:
            text = (await self._cipher()).encrypt(text, None)
        return base64.urlsafe_b64encode(f"{state}:".encode() + text).decode().rstrip("=")

    async def unpack(self, state: State, text: str) -> str | None:
        """The cursor in what a client sends; None: it is none of this state. Raises Unavailable."""
        try:
            found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        word, _, place = found.partition(b":")
        if word != state.encode():
            return None
        with suppress(InvalidTag, ValueError):
            if state is State.DELAYED:
                place = (await self._cipher()).decrypt(place, None)
            cursor = place.decode("ascii")
            return cursor if is_cursor(state, cursor) else None
        return None

    async def _cipher(self) -> AESSIV:
        if self._seal is None:
            self._seal = AESSIV(await cursor_secret(self._redis))
        return self._seal


CURSORS = web.AppKey("cursors", PageCursors)


def install(app: web.Application) -> None:
    """Before it starts."""
    app[CURSORS] = PageCursors(app[REDIS])
