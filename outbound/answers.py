"""How an answer is read off the wire: its head before its body.

aiohttp throws an answer away when its body is malformed and came in the same packet as the head,
and keeps it when it came in the next. How bytes fall into packets must not decide whether
something was delivered; the status line does (WH-10).
"""

import asyncio
from functools import partial

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

_FINAL = 200


class HeadFirst(ResponseHandler):
    """Hands the parser one line at a time until a final answer's head is complete."""

    _answered = False

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """An answer's head, from the parser; 1xx come before the answer itself."""
        self._answered = self._answered or data[0].code >= _FINAL
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Bytes as they came."""
        start = 0
        while not self._answered and self._parser is not None and self.exception() is None:
            end = data.find(b"\n", start) + 1
            if end == 0 or end == len(data):
                break
            super().data_received(data[start:end])
            start = end
        super().data_received(data[start:])
        self._end_a_broken_body()

    def _end_a_broken_body(self) -> None:
        """Whoever reads a body that turned out malformed must learn it, not wait for the rest."""
        broken, body = self.exception(), self._payload
        if broken is not None and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError("the body is malformed"), broken)


class Connector(aiohttp.TCPConnector):
    """A connector whose connections read answers so."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._factory = partial(HeadFirst, loop=asyncio.get_running_loop())  # type: ignore[assignment]
