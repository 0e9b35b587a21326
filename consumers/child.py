"""What runs in a child process: one handler, job after job, until the pipe ends."""

import importlib.util
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from consumers.processor import Reject, Retry, RetryLater, wait_ms
from streams.encode import PAYLOAD_BYTES
from streams.errors import InvalidValue
from streams.sanitize import clean_text, encode_value

FILE_MODULE = "credstream_processor_"
"""How the names of modules begin that were loaded from a file of `--processors`."""
MESSAGE_CHARS = 2_000
CODE_CHARS = 128


@dataclass(frozen=True, slots=True)
class HandlerFailure:
    """How a handler failed, in words that can be pickled. `kind`: Reject, Retry, RetryLater, or
    empty; `code` is then the name of the error's class."""

    kind: str
    code: str
    message: str
    after_ms: int = 0


class ChildContext:
    """The context of a handler in a child process: the methods of `Context`, without `await`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.state = None
        """Always None: what `open` yields stays in the worker's process."""
        self.cancelled = threading.Event()
        """Never set: the process of a cancelled job is killed."""

    def progress(self, value: Any) -> None:
        """As `Context.progress`."""
        self._ask("progress", value)

    def log(self, line: str) -> None:
        """As `Context.log`."""
        self._ask("log", line)

    def attempt(self, record: Mapping[str, Any]) -> None:
        """As `Context.attempt`."""
        self._ask("attempt", record)

    def remember(self, value: Any) -> None:
        """As `Context.remember`."""
        self._ask("remember", value)

    def recall(self) -> Any:
        """As `Context.recall`."""
        return self._ask("recall")

    def _ask(self, verb: str, *args: Any) -> Any:
        self._pipe.send((verb, args))
        answer, error = self._pipe.recv()
        if error is not None:
            raise error
        return answer


def serve(pipe: Connection, module: str, file: str, handler: bytes) -> None:
    """Run the jobs that come through a pipe. The main function of a child process."""
    # A terminal sends Ctrl-C to all its processes; the worker decides what becomes of this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if file:
        load_file(module, file)
    handle = pickle.loads(handler)  # noqa: S301 - from the worker
    context = ChildContext(pipe)
    while True:
        try:
            job, wants_context = pickle.loads(pipe.recv_bytes())  # noqa: S301 - from the worker
        except EOFError:
            return
        args = (job, context) if wants_context else (job,)
        pipe.send(_outcome(handle, args))


def _outcome(handle: Callable[..., Any], args: tuple[Any, ...]) -> bytes | HandlerFailure:
    try:
        result = handle(*args)
    except BaseException as error:  # noqa: BLE001 - also SystemExit
        return _failure_of(error)
    try:
        return encode_value(result, PAYLOAD_BYTES)
    except InvalidValue as error:
        message = f"the handler's result cannot be stored: {error}"
        return HandlerFailure("Reject", "invalid_result", message)


def _failure_of(error: BaseException) -> HandlerFailure:
    """An error in words that can be pickled."""
    kind = next((k.__name__ for k in (Reject, Retry, RetryLater) if isinstance(error, k)), "")
    code = getattr(error, "code", "") if kind else type(error).__name__
    message = clean_text(error, MESSAGE_CHARS) or type(error).__name__
    try:
        after_ms = wait_ms(getattr(error, "after_ms", 0))
    except (TypeError, ValueError):
        after_ms = 0
    return HandlerFailure(kind, clean_text(code, CODE_CHARS), message, after_ms)


def load_file(name: str, file: str) -> ModuleType:
    """Import a file as a module of this name. Raises ImportError."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
