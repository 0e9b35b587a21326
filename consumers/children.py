"""Processes that run handlers: one per slot, started when it is first needed.

What crosses the border is pickled: the handler by its name, the job with its payload, and what is
said through the context. Results come back as JSON.
"""

import atexit
import multiprocessing
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import orjson

from consumers.child import FILE_MODULE, HandlerFailure, serve
from consumers.processor import Reject, Retry, RetryLater
from streams import Job

ENDED_S = 5.0
"""How long a killed process may take to be gone."""


class ProcessDied(Exception):
    """The process of a handler ended without an answer."""


class ChildPool:
    """The child processes of one worker, as many as its slots. `call` blocks its thread."""

    def __init__(self, handle: Callable[..., Any]) -> None:
        self._words = _reference(handle)
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: dict[Job, Child] = {}
        self._is_closed = False

    def call(self, job: Job, context: Any) -> Any:
        """Run the handler. Raises what it raises by class name and message; ProcessDied when its
        process ended; RetryLater when that got SIGTERM, as all processes of a service do."""
        with self._lock:
            if self._is_closed:
                raise RetryLater(0, "the worker stops")
            child = self._idle.pop() if self._idle else Child(self._words)
            self._busy[job] = child
        is_reusable = False
        try:
            answer = child.run(job, context)
            is_reusable = True
        finally:
            with self._lock:
                del self._busy[job]
                is_reusable = is_reusable and not self._is_closed
                if is_reusable:
                    self._idle.append(child)
            if not is_reusable:
                child.close()
        if isinstance(answer, HandlerFailure):
            raise _error(answer)
        return orjson.Fragment(answer)

    def cancel(self, job: Job) -> None:
        """End the process of a job."""
        with self._lock:
            child = self._busy.get(job)
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy.values())
        for child in busy:
            child.kill()
        for child in idle:
            child.close()


class Child:
    """One child process; runs one job at a time."""

    def __init__(self, words: tuple[Any, ...]) -> None:
        # Not forked: a fork would copy the locks and connections of a process with threads.
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=serve, args=(theirs, *words), daemon=True)
        self._process.start()
        theirs.close()
        atexit.register(self.kill)

    def run(self, job: Job, context: Any) -> bytes | HandlerFailure:
        """The result as JSON, or how the handler failed. Raises ProcessDied, RetryLater."""
        message = pickle.dumps((job, context is not None))
        try:
            self._pipe.send_bytes(message)
            while not isinstance(said := self._pipe.recv(), bytes | HandlerFailure):
                self._pipe.send(_answer(context, *said))
        except (EOFError, OSError):
            self._process.join(ENDED_S)
            code = self._process.exitcode
            if code == -signal.SIGTERM:
                raise RetryLater(0, "the process of the handler was told to stop") from None
            raise ProcessDied(f"the process of the handler ended: exit code {code}") from None
        return said

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """End the process and free what belongs to it."""
        self.kill()
        atexit.unregister(self.kill)
        self._process.join(ENDED_S)
        self._pipe.close()


def _answer(context: Any, verb: str, args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """Do what a handler asks of its context."""
    try:
        return getattr(context, verb)(*args), None
    except Exception as error:  # noqa: BLE001 - it is raised in the child
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        except Exception:  # noqa: BLE001
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _reference(handle: Callable[..., Any]) -> tuple[str, str, bytes]:
    """Module, file (of a module that only `--processors` names) and pickle of a handler."""
    try:
        pickled = pickle.dumps(handle)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            "executor='process' needs a function at the top level of a module, which another "
            f"process can import: {error}"
        ) from None
    module = getattr(handle, "__module__", None) or type(handle).__module__
    is_file = module.startswith(FILE_MODULE)
    file = getattr(sys.modules[module], "__file__", None) if is_file else None
    return module, file or "", pickled


def _error(failure: HandlerFailure) -> BaseException:
    """An error as it would be in this process; of other classes than ours, one of their name."""
    match failure.kind:
        case "Reject":
            return Reject(failure.message, code=failure.code)
        case "Retry":
            return Retry(failure.message, code=failure.code, after_ms=failure.after_ms)
        case "RetryLater":
            return RetryLater(failure.after_ms, failure.message)
    named: type[Exception] = type(failure.code, (Exception,), {})
    return named(failure.message)
