"""How much one turn of the event loop takes on, however many knock at once.

The loop runs everything that is ready before it looks at anything else. A thousand connections
that are opened and written to in one moment would be accepted, read and worked on in one turn, and
nobody else would hear anything meanwhile. So a turn accepts a few connections, and takes up a few
requests of each kind, in the order in which they came; the others wait, unread beyond their first
bytes. When there is little to do, nothing waits and nothing costs.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

ACCEPTS_PER_TURN = 1
LOOKS_PER_TURN = 8
"""GET, HEAD, OPTIONS: they look at something. A lane of their own, so that who wants to see what
happens does not stand behind those who make it happen."""
CHANGES_PER_TURN = 4
"""Everything else is mostly submissions. Taking up or answering one at a time would keep a turn
shortest, but a fifth fewer would get through; eight at a time gain little more."""
BACKLOG = 1_024
FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""`localhost` may have an address of IPv6 in a file on a machine that has none."""
PAUSE_S = 1.0
"""How long nobody is let in after the system had no room for one more connection."""
_LOOKS = (b"GET ", b"HEAD ", b"OPTIONS ")

Step = Callable[[], None]


class _Lane:
    __slots__ = ("_next", "_per_turn", "left", "under_way", "waiting")

    def __init__(self, per_turn: int) -> None:
        self._per_turn = self.left = per_turn
        self.under_way: deque[Step] = deque()
        """Steps of what was taken up before, so that what is begun comes to an end."""
        self.waiting: deque[Step] = deque()
        self._next = self.under_way
        """Whose turn it is when both have somebody: a body of many jobs is under way for long."""

    def next_turn(self) -> bool:
        """Takes who has waited longest; whether there was anybody, now or since the last turn."""
        was_used = self.left < self._per_turn
        self.left = self._per_turn
        while self.left and (self.under_way or self.waiting):
            queue = self._next or (self.under_way or self.waiting)
            self._next = self.waiting if queue is self.under_way else self.under_way
            self.left -= 1
            queue.popleft()()
        return was_used or self.left < self._per_turn


class Admission:
    """Where requests wait for the turn that takes them up. Of one event loop."""

    def __init__(self, changes_per_turn: int = CHANGES_PER_TURN) -> None:
        self._looks, self._changes = _Lane(LOOKS_PER_TURN), _Lane(changes_per_turn)
        self._counting = False

    def enters(self, begin: bytes, step: Step) -> bool:
        """Whether the request that begins with these bytes is taken up at once; else `step` is
        called in the turn that does."""
        lane = self._looks if begin.startswith(_LOOKS) else self._changes
        return self._now(lane, lane.waiting, step)

    @property
    def is_crowded(self) -> bool:
        """Whether changes wait here that the next turns will take up."""
        return bool(self._changes.waiting)

    def goes_on(self, step: Step) -> None:
        """Call `step`, with which a change goes on, now or in the turn that has room for it."""
        if self._now(self._changes, self._changes.under_way, step):
            step()

    def _now(self, lane: _Lane, queue: "deque[Step]", step: Step) -> bool:
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._turn)
        if lane.left:
            lane.left -= 1
            return True
        queue.append(step)
        return False

    def _turn(self) -> None:
        self._counting = any([self._looks.next_turn(), self._changes.next_turn()])
        if self._counting:
            asyncio.get_running_loop().call_soon(self._turn)


class Door:
    """Listening sockets from which a turn of the loop accepts a few connections.

    `factory` makes the protocol of one connection."""

    def __init__(
        self, sockets: Sequence[socket.socket], factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._sockets, self._factory = sockets, factory
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[None]] = set()
        self._is_open = True
        for one in sockets:
            one.setblocking(False)
            self._watch(one)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Nobody comes in any more; who is in stays."""
        if self._is_open:
            self._is_open = False
            for one in self._sockets:
                self._loop.remove_reader(one)
                one.close()

    def _watch(self, listening: socket.socket) -> None:
        if self._is_open:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in FULL:
                    raise
                logger.warning("no room for connections, none is accepted for a while: %s", error)
                self._loop.remove_reader(listening)
                self._loop.call_later(PAUSE_S, self._watch, listening)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._welcome(connection))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _welcome(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it has left again
            await self._loop.connect_accepted_socket(self._factory, connection)
            return
        connection.close()


async def bind(host: str, port: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """A listening socket for each address that `host` has on this machine. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            where = str(address[0]), bound[0].getsockname()[1] if bound else port
            try:
                bound.append(_listening(family, where, reuse_port=reuse_port))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
        if not bound:
            raise absent or OSError(f"{host} has no address")
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


def _listening(family: int, where: tuple[str, int], *, reuse_port: bool) -> socket.socket:
    return socket.create_server(where, family=family, backlog=BACKLOG, reuse_port=reuse_port)
