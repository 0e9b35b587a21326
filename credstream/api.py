"""What the command line says to a gateway over HTTP."""

import asyncio
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from schemas.job import State

ENDED = (State.COMPLETED, State.FAILED)
FIRST_POLL_S = 0.05
LONGEST_POLL_S = 1.0
REQUEST_TIMEOUT_S = 40.0
"""More than the gateway gives itself for any request."""


class Unreachable(Exception):
    """Nobody answers as a gateway at that address. The message says what happened."""


class Refused(Exception):
    """The gateway said no. `str()` is its reason, one line for each thing that is wrong."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__("\n".join(_problem_lines(problem)))
        self.problem = problem


def _problem_lines(problem: Mapping[str, Any]) -> list[str]:
    title = str(problem.get("title") or "The request was refused")
    detail = str(problem.get("detail") or "")
    faults = problem.get("errors") or []
    told = [f"  {fault.get('pointer') or '(body)'}: {fault.get('detail')}" for fault in faults]
    return [f"{title}:", *told] if told else [f"{title}: {detail}" if detail else title]


class Gateway:
    """One gateway. `async with Gateway(url) as gateway`; every call answers the envelope's data.

    Raises Unreachable and Refused.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, connect=5)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def submit(self, queue: str, job: Mapping[str, Any]) -> Any:
        """Add one job `{name?, data, options?}`; `{id, state, deduplicated}`."""
        return await self._call("POST", f"/queue/{_word(queue)}/jobs", job)

    async def job(self, queue: str, job_id: str) -> Any:
        """A job as it is now."""
        return await self._call("GET", f"/queue/{_word(queue)}/job/{_word(job_id)}")

    async def retry(self, queue: str, job_id: str) -> Any:
        """Give a failed job another chance."""
        return await self._call("POST", f"/queue/{_word(queue)}/job/{_word(job_id)}/retry")

    async def stats(self) -> Any:
        """The counts of every queue."""
        return await self._call("GET", "/queue/stats")

    async def is_ready(self) -> bool:
        """Whether the gateway is there and can store jobs."""
        try:
            async with self._session.get(f"{self.url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def wait_for_end(self, queue: str, job_id: str) -> Any:
        """The job once it has completed or failed, however long that takes."""
        pause_s = FIRST_POLL_S
        while True:
            job = await self.job(queue, job_id)
            if job["state"] in ENDED:
                return job
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_POLL_S)

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            url = URL(self.url + path, encoded=True)
            async with self._session.request(method, url, data=data, headers=headers) as response:
                answer = _parse(await response.read())
                if response.ok and "data" in answer:
                    return answer["data"]
                if "title" in answer:
                    raise Refused(answer)
                raise Unreachable(
                    f"{self.url} answered with status {response.status}, but not as a Credstream "
                    "gateway does. Check the address (--url or CREDSTREAM_URL)."
                )
        except (aiohttp.InvalidURL, ValueError) as error:
            raise Unreachable(
                f"{self.url} is not an http:// or https:// address (--url or CREDSTREAM_URL)."
            ) from error
        except TimeoutError as error:
            raise Unreachable(f"The gateway at {self.url} did not answer in time.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(
                f"There is no gateway at {self.url} ({error}). Start one with `credstream up`, or "
                "give its address with --url or CREDSTREAM_URL."
            ) from error


def _word(text: str) -> str:
    """One segment of a path: a job id may hold any printable character, `/` and `?` too."""
    return quote(text, safe="")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
