"""One call to a gateway over HTTP: sent again where that is safe, its refusals as exceptions."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

FIRST_PAUSE_S = 0.1
REQUEST_TIMEOUT_S = 40.0
"""More than the gateway gives itself for any request."""


class Unreachable(Exception):
    """Nobody answers as a gateway at that address. The message says what happened."""


class Stranger(Unreachable):
    """Somebody answers there, but it is no gateway; or it is no address at all."""


class Refused(Exception):
    """The gateway said no. `str()` is its reason, one line for each thing that is wrong."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__("\n".join(_problem_lines(problem)))
        self.problem = problem
        """The problem (RFC 9457) as it came."""

    @property
    def status(self) -> int:
        return int(self.problem.get("status", 0))

    @property
    def code(self) -> str:
        """Stable: what programs decide by."""
        return str(self.problem.get("code", ""))

    @property
    def title(self) -> str:
        """What kind of refusal it is, for people."""
        return str(self.problem.get("title", ""))

    @property
    def faults(self) -> list[Mapping[str, str]]:
        """What is wrong where: `{pointer, detail}`."""
        return list(self.problem.get("errors") or ())


class Forbidden(Refused):
    """401 and 403: no credential, or not enough of one."""


class NotThere(Refused):
    """404: no such queue, job or path, or another organization's."""


class Conflict(Refused):
    """409: not in this state, or another request is at it."""


class Invalid(Refused):
    """400, 413, 415 and 422: what was sent does not fit."""


class Busy(Refused):
    """429 and 503: later."""


_KINDS = {
    **dict.fromkeys((401, 403), Forbidden),
    404: NotThere,
    409: Conflict,
    **dict.fromkeys((400, 413, 415, 422), Invalid),
    **dict.fromkeys((429, 503), Busy),
}


def _problem_lines(problem: Mapping[str, Any]) -> list[str]:
    title = str(problem.get("title") or "The request was refused")
    detail = str(problem.get("detail") or "")
    faults = problem.get("errors") or []
    told = [f"  {fault.get('pointer') or '(body)'}: {fault.get('detail')}" for fault in faults]
    return [f"{title}:", *told] if told else [f"{title}: {detail}" if detail else title]


class Gateway:
    """One gateway. `async with Gateway(url) as gateway`; every call answers the envelope's data.

    `key`: an API key. Raises Unreachable, and a kind of Refused. What is safe to be sent again is,
    up to `retries` times: what only reads, what sets a state, and every POST, which gets an
    Idempotency-Key for that.
    """

    def __init__(self, url: str, *, key: str | None = None, retries: int = 2) -> None:
        self.url = url
        self._retries = retries
        self._headers = {} if key is None else {"Authorization": f"Bearer {key.strip()}"}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, connect=5)
        self._session = aiohttp.ClientSession(timeout=timeout, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def is_ready(self) -> bool:
        """Whether the gateway is there and can store jobs."""
        try:
            async with self._session.get(f"{self.url.rstrip('/')}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def call(
        self, method: str, path: str, body: object = None, *, safe: bool = False
    ) -> dict[str, Any]:
        """The whole envelope of the answer. `safe`: the call may be repeated.

        Raises ValueError and TypeError for a body that JSON cannot tell."""
        headers = {}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_hex(16)
            safe = True
        data = None if body is None else _document(body)
        if data is not None:
            headers["Content-Type"] = "application/json"
        for left in range(self._retries if safe or method == "GET" else 0, -1, -1):
            try:
                return await self._send(method, path, data, headers)
            except (Unreachable, Busy, Conflict) as error:
                if left == 0 or not _may_pass(error):
                    raise
                pause_s = FIRST_PAUSE_S * 4 ** (self._retries - left)
                await asyncio.sleep(pause_s * (1 + secrets.randbelow(100) / 200))
        raise AssertionError("the last try answers or raises")

    async def data(self, method: str, path: str, body: object = None, *, safe: bool = False) -> Any:
        """What is in the envelope."""
        return (await self.call(method, path, body, safe=safe))["data"]

    async def _send(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        url = self._address(path)
        with self._reaching():
            async with self._session.request(method, url, data=data, headers=headers) as response:
                answer = _parse(await response.read())
                if response.ok and "data" in answer:
                    return answer
                raise self._no(response.status, answer)

    def _no(self, status: int, answer: Mapping[str, Any]) -> Exception:
        if "title" in answer:
            return _KINDS.get(status, Refused)(answer)
        return Stranger(
            f"{self.url} answered with status {status}, but not as a Credstream gateway does. "
            "Check the address (--url or CREDSTREAM_URL)."
        )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Errors of the connection become Unreachable."""
        try:
            yield
        except TimeoutError as error:
            raise Unreachable(f"The gateway at {self.url} did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(
                f"There is no gateway at {self.url} ({error}). Start one with `credstream up`, or "
                "give its address with --url or CREDSTREAM_URL."
            ) from error

    async def stream(
        self, path: str, after: str | None, silent_s: float
    ) -> AsyncIterator[dict[str, str]]:
        """The blocks of an event stream, from one connection. Raises as `call`; Unreachable also
        when nothing came for `silent_s`."""
        url = self._address(path)
        headers = {} if after is None else {"Last-Event-ID": after}
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=silent_s)
        with self._reaching():
            async with self._session.get(url, headers=headers, timeout=timeout) as response:
                if not response.ok:
                    raise self._no(response.status, _parse(await response.read()))
                async for block in blocks(response.content):
                    yield block

    def _address(self, path: str) -> URL:
        """Raises Stranger."""
        try:
            url = URL(self.url.rstrip("/") + path, encoded=True)
            is_one = url.scheme in {"http", "https"} and bool(url.host) and url.port is not None
        except ValueError:
            is_one = False
        if not is_one:
            raise Stranger(
                f"{self.url} is not an http:// or https:// address (--url or CREDSTREAM_URL)."
            )
        return url


def _document(body: object) -> bytes:
    """orjson writes null for NaN and Infinity, which is not what was meant."""
    data = orjson.dumps(body)
    if b"null" in data:
        json.dumps(body, allow_nan=False, default=str)
    return data


def _may_pass(error: Exception) -> bool:
    """Whether the same call may go better in a moment."""
    if isinstance(error, Refused):
        return isinstance(error, Busy) or error.code == "idempotency_in_flight"
    return not isinstance(error, Stranger)


async def blocks(lines: AsyncIterable[bytes]) -> AsyncIterator[dict[str, str]]:
    """The fields of each block of an event stream that has come whole (WHATWG HTML, 9.2)."""
    fields: dict[str, str] = {}
    async for line in lines:
        text = line.decode().rstrip("\r\n")
        if not text:
            if fields:
                yield fields
            fields = {}
        elif not text.startswith(":"):
            name, _, value = text.partition(":")
            fields[name] = value.removeprefix(" ")


def word(text: str) -> str:
    """One segment of a path: a job id may hold any printable character, `/` and `?` too."""
    return quote(text, safe="")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
