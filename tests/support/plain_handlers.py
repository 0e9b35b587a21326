"""Plain handlers, at the top level of a module that a child process can import."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from hostile import ERRORS, RESULTS

from consumers import Reject
from streams import Job


def square(job: Job) -> dict[str, Any]:
    return {"n": job.payload["n"] ** 2, "pid": os.getpid(), "thread": threading.get_ident()}


def talk(job: Job, context: Any) -> Any:
    """Use everything a context has."""
    before = context.recall()
    context.progress({"done": 40})
    context.log("a line")
    context.attempt({"number": 1})
    context.remember({"run": job.attempts_started})
    if before is None:
        raise ValueError("again")
    return [before, context.state, context.cancelled.is_set()]


def show_badly(_: Job, context: Any) -> None:
    context.progress(float("nan"))


def behave(job: Job) -> Any:
    """Do what the job's name says."""
    verb, _, name = job.name.partition(" ")
    if verb == "raise":
        error = ERRORS[name]()
        raise error
    return RESULTS[name]() if verb == "return" else "fine"


def refuse(_: Job) -> None:
    raise Reject("there is no such issuer", code="issuer_unknown")


def die(job: Job) -> str:
    """End the process, as a crash in native code does."""
    if job.data.get("by") == "exit":
        os._exit(3)
    if job.data.get("by") == "SIGTERM" and job.attempts_started == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return "alive"


def hold(job: Job) -> str:
    """Keep a CPU busy, and the GIL of this process, until a file is there."""
    Path(job.data["inside"]).write_text(str(os.getpid()))
    while not Path(job.data["leave"]).exists():
        pass
    return "left"


def wait_for_cancel(_: Job, context: Any) -> str:
    """Go on until told to stop."""
    context.log("inside")
    assert context.cancelled.wait(60)
    return "too late"
