"""For whom something is done, and how much of this process may wait or compute for them.

A verification waits for servers that strangers run and judges by schemas that strangers wrote. Both
are bounded for each requester, so that nobody else notices.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

COMPUTATIONS = 16
"""Long computations of a request before it needs a place: an ordinary credential has up to five."""
STEPS = 1_000_000
"""What all schemas of one verification may cost together, in steps of `metered.Meter`."""


class CapacityError(Exception):
    """What this requester may hold of this process is in use. It says nothing about a token: try
    again later."""


class FairShare:
    """`size` places, of which a holder may have as many as are free.

    One holder alone gets half of them, a second one then a quarter, a third one an eighth: however
    many somebody wants, the next one finds some (dynamic thresholds, Choudhury and Hahne 1998).
    """

    def __init__(self, size: int) -> None:
        self.free = size
        self._held: dict[str, int] = {}

    def take(self, holder: str) -> None:
        """Take a place. Raises CapacityError."""
        held = self._held.get(holder, 0)
        if held >= self.free:
            raise CapacityError(f"{held} requests of this organization or client are waiting")
        self._held[holder] = held + 1
        self.free -= 1

    def give_back(self, holder: str) -> None:
        """Free a place that was taken."""
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
        self.free += 1


@dataclass(slots=True)
class Requester:
    """One request of an organization or a client. Without `share` it may wait as it likes."""

    name: str = ""
    share: FairShare | None = None
    steps: int = STEPS
    """What its schemas may still cost."""
    computations: int = 0
    """Long ones so far."""
    _has_place: bool = field(default=False, init=False)

    def occupy(self) -> None:
        """Hold a place until the request ends: called before whatever may take long. Raises
        CapacityError."""
        if self.share is not None and not self._has_place:
            self.share.take(self.name)
            self._has_place = True

    def count_computation(self) -> None:
        """Called before a long computation: a request with many of them needs a place. Raises
        CapacityError."""
        self.computations += 1
        if self.computations > COMPUTATIONS:
            self.occupy()

    def leave(self) -> None:
        """Free the place, if it holds one."""
        if self.share is not None and self._has_place:
            self.share.give_back(self.name)
            self._has_place = False


_current: ContextVar[Requester | None] = ContextVar("requester", default=None)


def current_requester() -> Requester:
    """The requester of the task that runs; without one, somebody without limits."""
    return _current.get() or Requester()


@contextmanager
def acting_for(requester: Requester) -> Iterator[None]:
    """Within the block `requester` is the current one; after it its place is free."""
    token = _current.set(requester)
    try:
        yield
    finally:
        _current.reset(token)
        requester.leave()
