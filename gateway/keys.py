"""What an application carries and what a request carries, as typed keys."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.settings import GatewaySettings
from streams import Redis

if TYPE_CHECKING:
    from gateway.directory import Directory


@dataclass(slots=True)
class Life:
    """The one thing that changes while a gateway runs."""

    draining: bool = False
    """SIGTERM has come: not ready any more, and connections close after their response."""
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    """It has come once more: what is in flight is cut off."""


@dataclass(slots=True)
class Forwarded:
    """Whether requests came through a proxy that is not trusted, since that was last told."""

    is_seen: bool = False
    is_logged: bool = False


REDIS = web.AppKey("redis", Redis)
SETTINGS = web.AppKey("settings", GatewaySettings)
DIRECTORY: "web.AppKey[Directory]" = web.AppKey("directory")
FORWARDED = web.AppKey("forwarded", Forwarded)
LIFE = web.AppKey("life", Life)
CONTINUE = web.RequestKey("continue", bool)
"""The client waits for 100 Continue before it sends the body (RFC 9110, 10.1.1). A connection on
which it was not told so is closed: nobody could tell whether the body still comes."""
REQUEST_ID = web.RequestKey("request_id", str)
