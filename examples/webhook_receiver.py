"""Receive webhooks: check the signature, drop what came before, answer at once, work afterwards.

    python examples/webhook_receiver.py whsec_... [port]

The secret is your organization's: `GET /webhooks/secret`. While a secret is being rotated, every
delivery is signed with both, so one secret is enough here.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

Event = dict[str, Any]
REMEMBERED = 10_000


class Receiver:
    """Passes each event to `on_event` once, however often it is delivered."""

    def __init__(self, secret: str, on_event: Callable[[Event], Awaitable[None]]) -> None:
        self._verifier = Webhook(secret)
        self._on_event = on_event
        self._seen: dict[str, None] = {}
        """Use your database for this: a restart must not forget."""
        self._running: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """A server for `POST /hook`. Bodies above 300 kB are not ours."""
        app = web.Application(client_max_size=300_000)
        app.router.add_post("/hook", self.receive)
        return app

    async def receive(self, request: web.Request) -> web.Response:
        """Answer within a few seconds, and 2xx for what you have: it is sent again otherwise."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            event: Event = self._verifier.verify(body, headers)
        except (WebhookVerificationError, ValueError) as error:  # ValueError: malformed headers
            print(f"refused: {error}")
            return web.Response(status=400, text="the signature does not hold")
        if headers["webhook-id"] in self._seen:
            return web.Response(status=200, text="known already")
        self._remember(headers["webhook-id"])
        task = asyncio.ensure_future(self._on_event(event))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return web.Response(status=202, text="thank you")

    def _remember(self, webhook_id: str) -> None:
        self._seen[webhook_id] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]


async def show(event: Event) -> None:
    """What a receiver does with an event."""
    print(f"received {event.get('event')}: {event}")


def main(secret: str, port: int) -> None:
    """Serve until Ctrl-C."""
    web.run_app(Receiver(secret, show).app(), host="127.0.0.1", port=port)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8080)
