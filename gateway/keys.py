"""What an application carries and what a request carries, as typed keys."""

from dataclasses import dataclass
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


REDIS = web.AppKey("redis", Redis)
SETTINGS = web.AppKey("settings", GatewaySettings)
DIRECTORY: "web.AppKey[Directory]" = web.AppKey("directory")
LIFE = web.AppKey("life", Life)
REQUEST_ID = web.RequestKey("request_id", str)
