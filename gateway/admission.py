"""How much one turn of the event loop takes on, however many knock at once.

The loop runs everything that is ready before it looks at anything else. A thousand connections
that are opened and written to in one moment would be accepted, read and worked on in one turn, and
nobody else would hear anything meanwhile. So every other turn accepts a connection, and each takes
up a few requests of each kind, in the order in which they came; the others wait, unread beyond
their first bytes. When there is little to do, nothing waits and nothing costs.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

TURNS_PER_ACCEPT = 2
"""To let somebody in, and out again, costs as much as half a submission."""
LOOKS_PER_TURN = 8
"""GET, HEAD, OPTIONS: they look at something. A lane of their own, so that who wants to see what
happens does not stand behind those who make it happen."""
CHANGES_PER_TURN = 4
"""Everything else is mostly submissions. Taking up or answering one at a time would keep a turn
shortest, but a tenth fewer would get through; eight at a time gain little more."""
CHANGES_AMONG_LOOKS = 1
LOOKED_S = 1.0
"""So long after a look, changes come one a turn: who looks once mostly looks again, and waits for
whole turns. While nobody looks, nobody has anything of short ones."""
BACKLOG = 1_024
FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""`localhost` may have an address of IPv6 in a file on a machine that has none."""
PAUSE_S = 1.0
"""How long nobody is let in after the system had no room for one more connection."""
_LOOKS = (b"GET ", b"HEAD ", b"OPTIONS ")

Step = Callable[[], None]


class _Lane:
    __slots__ = ("_given", "_next", "left", "under_way", "waiting")

    def __init__(self, per_turn: int) -> None:
        self._given = self.left = per_turn
        self.under_way: deque[Step] = deque()
        """Steps of what was taken up before, so that what is begun comes to an end."""
        self.waiting: deque[Step] = deque()
        self._next = self.under_way
        """Whose turn it is when both have somebody: a body of many jobs is under way for long."""

    def next_turn(self, per_turn: int) -> bool:
        """Takes who has waited longest; whether there was anybody, now or since the last turn."""
        was_used = self.left < self._given
        self._given = self.left = per_turn
        while self.left and (self.under_way or self.waiting):
            queue = self._next or (self.under_way or self.waiting)
            self._next = self.waiting if queue is self.under_way else self.under_way
            self.left -= 1
            queue.popleft()()
        return was_used or self.left < per_turn


class Admission:
    """Where requests wait for the turn that takes them up. Of one event loop."""

    def __init__(self, changes_per_turn: int = CHANGES_PER_TURN) -> None:
        self._looks, self._changes = _Lane(LOOKS_PER_TURN), _Lane(changes_per_turn)
        self._changes_per_turn = changes_per_turn
        self._looked_s = float("-inf")
        self._counting = False

    def enters(self, begin: bytes, step: Step) -> bool:
        """Whether the request that begins with these bytes is taken up at once; else `step` is
        called in the turn that does."""
        lane = self._changes
        if begin.startswith(_LOOKS):
            lane = self._looks
            self._looked_s = asyncio.get_running_loop().time()
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
        loop = asyncio.get_running_loop()
        is_looked_at = loop.time() < self._looked_s + LOOKED_S
        changes = CHANGES_AMONG_LOOKS if is_looked_at else self._changes_per_turn
        looked = self._looks.next_turn(LOOKS_PER_TURN)
        self._counting = self._changes.next_turn(changes) or looked
        if self._counting:
            loop.call_soon(self._turn)


class Door:
    """Listening sockets from which every other turn of the loop accepts a connection.

    `factory` makes the protocol of one connection."""

    def __init__(
        self, sockets: Sequence[socket.socket], factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._sockets, self._factory = sockets, factory
        self._loop = asyncio.get_running_loop()
        self._coming: set[asyncio.Task[None]] = set()
        self._is_open = True
        self._turns = 0
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
        self._turns += 1
        if self._turns % TURNS_PER_ACCEPT:
            return  # whoever waits is still there when the loop looks again, which is at once
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
