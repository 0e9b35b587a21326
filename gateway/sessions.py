"""The cookie of those who signed in to the dashboard, and whom it stands for (AU-8)."""

import time
from functools import partial

from aiohttp import web

from gateway.gate import GATE, Gate, Unauthorized
from gateway.keys import REDIS
from gateway.principal import STANDING, Principal, Standing, scopes_of
from streams import Redis, sessions
from streams.errors import CredstreamError
from streams.sessions import Session

COOKIE = "__Host-credstream"
"""Browsers keep it only when it is Secure, for this host and for `/`."""
PREFIX = "/dashboard"
"""Where the cookie counts: the rest of the API takes credentials that no browser adds by itself."""
SESSION_ID = web.RequestKey("session_id", str)
"""The session a request came with, when it came with one."""
ASK_AGAIN = web.RequestKey("ask_again", bool)
"""It came with a session that the OpenID provider has to confirm: roles change there."""


async def signed_in(request: web.Request) -> Principal | None:
    """Who signed in, for a request of the dashboard; None: nobody, or not any more.

    Raises Unavailable."""
    session_id = request.cookies.get(COOKIE)
    within = request.path == PREFIX or request.path.startswith(PREFIX + "/")
    if not session_id or not within:
        return None
    gate, redis = request.app[GATE], request.app[REDIS]
    session = await sessions.find(redis, session_id)
    request[ASK_AGAIN] = session is not None and _is_due(session)
    principal = await _holder(gate, redis, session_id, session)
    if principal is not None:
        request[SESSION_ID] = session_id
        request[STANDING] = Standing(partial(_is_valid, gate, redis, session_id))
    return principal


def _is_due(session: Session) -> bool:
    return session.again_ms is not None and time.time_ns() // 1_000_000 >= session.again_ms


async def _holder(
    gate: Gate, redis: Redis, session_id: str, session: Session | None
) -> Principal | None:
    if session is None or _is_due(session):
        return None
    if session.key_id is None:
        return Principal(session.name, scopes_of(session.scopes), session.organization_id)
    try:
        return await gate.holder(session.key_id)
    except Unauthorized:
        await sessions.close(redis, session_id)
        return None


async def _is_valid(gate: Gate, redis: Redis, session_id: str) -> bool:
    """As for credentials: it counts as good while nobody can tell."""
    try:
        session = await sessions.find(redis, session_id)
        return await _holder(gate, redis, session_id, session) is not None
    except CredstreamError:
        return True
