"""Where handlers run: `async def` in the event loop, plain `def` in a thread or a process."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from consumers.children import ChildPool
from consumers.processor import Context, Handler, Processor, is_async
from streams import Job

REPLY_S = 60.0
"""How long a thread waits for what it asks of Redis through its context."""


class ThreadContext:
    """The context of a handler that runs in a thread: the methods of `Context`, without `await`."""

    __slots__ = ("_context", "_loop", "cancelled")

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop
        self.cancelled = threading.Event()
        """Set when the job was cancelled, lost or took too long. The handler should return soon:
        a thread cannot be stopped, and its slot stays occupied until it returns."""

    @property
    def state(self) -> Any:
        """What the processor's `open` yielded."""
        return self._context.state

    def progress(self, value: Any) -> None:
        """As `Context.progress`."""
        self._ask(partial(self._context.progress, value))

    def log(self, line: str) -> None:
        """As `Context.log`."""
        self._ask(partial(self._context.log, line))

    def attempt(self, record: Mapping[str, Any]) -> None:
        """As `Context.attempt`."""
        self._ask(partial(self._context.attempt, record))

    def remember(self, value: Any) -> None:
        """As `Context.remember`."""
        self._ask(partial(self._context.remember, value))

    def recall(self) -> Any:
        """As `Context.recall`."""
        return self._ask(self._context.recall)

    def _ask(self, verb: Callable[[], Any]) -> Any:
        async def ask() -> Any:
            return await verb()

        asking = ask()
        try:
            future: Future[Any] = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError:
            asking.close()
            raise
        return future.result(REPLY_S)


class Executor(Protocol):
    """Runs plain functions outside of the event loop."""

    def call(self, job: Job, context: ThreadContext | None) -> Any:
        """Run the handler, in a thread that may wait for it. Raises what the handler raises."""

    def cancel(self, job: Job) -> None:
        """Stop the handler of a job if that is possible."""

    def close(self) -> None:
        """Free what the executor holds."""


class ThreadExecutor:
    """Runs each job in a thread of its own."""

    def __init__(self, handle: Callable[..., Any]) -> None:
        self._handle = handle

    def call(self, job: Job, context: ThreadContext | None) -> Any:
        return self._handle(job) if context is None else self._handle(job, context)

    def cancel(self, job: Job) -> None:
        """A thread cannot be stopped."""

    def close(self) -> None:
        """Threads end with their handlers or with the process."""


class OffLoopHandler:
    """An asynchronous handler around an executor: waits for a thread per job.

    `occupied(1)` is called when a run ends before its thread, `occupied(-1)` when that has ended.
    """

    def __init__(self, executor: Executor, occupied: Callable[[int], None]) -> None:
        self._executor = executor
        self._occupied = occupied

    async def __call__(self, job: Job, context: Context | None = None) -> Any:
        loop = asyncio.get_running_loop()
        mine = None if context is None else ThreadContext(context, loop)
        done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        run = partial(contextvars.copy_context().run, self._run, job, mine, loop, done)
        threading.Thread(target=run, name=f"{job.queue} {job.id}", daemon=True).start()
        try:
            result, error = await asyncio.shield(done)
        except asyncio.CancelledError:
            if mine is not None:
                mine.cancelled.set()
            self._executor.cancel(job)
            if not done.done():
                self._occupied(1)
                done.add_done_callback(lambda _: self._occupied(-1))
            raise
        if error is not None:
            raise error
        # A function that hands on to an asynchronous one.
        return await result if inspect.isawaitable(result) else result

    def _run(
        self,
        job: Job,
        context: ThreadContext | None,
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[tuple[Any, BaseException | None]]",
    ) -> None:
        outcome: tuple[Any, BaseException | None]
        try:
            outcome = self._executor.call(job, context), None
        except BaseException as error:  # noqa: BLE001 - it is raised again in the loop
            outcome = None, error
        try:
            loop.call_soon_threadsafe(_settle, done, outcome)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _settle(done: "asyncio.Future[Any]", outcome: Any) -> None:
    if not done.done():
        done.set_result(outcome)


def off_loop(
    processor: Processor, occupied: Callable[[int], None]
) -> tuple[Handler, Executor | None]:
    """The asynchronous handler of a processor, and the executor behind it if there is one.

    Raises ValueError for a handler that its executor cannot run."""
    handle, kind = processor.handle, processor.executor
    if is_async(handle):
        if kind is not None:
            raise ValueError(
                f"executor={kind!r} runs plain functions: write `def` instead of `async def`, or "
                "leave the executor out"
            )
        return handle, None
    executor: Executor
    if kind == "process":
        if processor.open is not None:
            raise ValueError(
                "executor='process' cannot be used with open: what it yields stays in this "
                "process. Keep such state in a global of the handler's module"
            )
        executor = ChildPool(handle)
    else:
        executor = ThreadExecutor(handle)
    return OffLoopHandler(executor, occupied), executor
