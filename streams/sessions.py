"""Sessions of people who signed in to the dashboard (AU-8).

The id is in the browser's cookie and nowhere else: Redis has its SHA-256, so who reads Redis cannot
sign in. A session is gone after 30 idle minutes and after 12 hours in any case.
"""

import hashlib
import secrets
import time
from dataclasses import asdict, dataclass

import orjson

from streams import keys
from streams.connection import Redis

IDLE_MS = 30 * 60_000
MOST_MS = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class Session:
    """Who signed in, and until when."""

    name: str
    scopes: tuple[str, ...]
    organization_id: str | None
    key_id: str | None
    """The API key it was opened with: revoked, it ends the session. None: a token."""
    ends_ms: int
    """Epoch ms, by the clock of gateways."""
    again_ms: int | None = None
    """When the OpenID provider has to confirm who it is, and with which roles; None: never."""


def new_id() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def end_ms(now_ms: int, credential_ends_ms: int | None = None) -> int:
    """When a session that begins now ends at the latest."""
    most_ms = now_ms + MOST_MS
    return most_ms if credential_ends_ms is None else min(most_ms, credential_ends_ms)


async def open_session(redis: Redis, session: Session) -> str:
    """Its new id. Raises Unavailable."""
    session_id = new_id()
    at = keys.session(_digest(session_id))
    text = orjson.dumps(asdict(session))
    await redis.command("SET", at["session"], text, "PX", IDLE_MS, key=at.prefix)
    return session_id


async def find(redis: Redis, session_id: str, now_ms: int | None = None) -> Session | None:
    """The session of this id, which thereby is not idle; None: there is none any more.

    Raises Unavailable."""
    at = keys.session(_digest(session_id))
    stored = await redis.command("GET", at["session"], key=at.prefix)
    if stored is None:
        return None
    await redis.command("PEXPIRE", at["session"], IDLE_MS, key=at.prefix)
    said = orjson.loads(stored)
    session = Session(**{**said, "scopes": tuple(said["scopes"])})
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return session if now_ms < session.ends_ms else None


async def close(redis: Redis, session_id: str) -> None:
    """May be repeated. Raises Unavailable."""
    at = keys.session(_digest(session_id))
    await redis.command("DEL", at["session"], key=at.prefix)


def _digest(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
