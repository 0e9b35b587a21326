"""A job's record as it lies in a stream entry, and its header.

Fields: `j` id, `h` header, `b` body (JSON: name, data, opts, later times and result),
`c` callback (JSON), `x` error history (JSON array). Unknown fields are kept as they are.
"""

from typing import NamedTuple

LAYOUT = 2


class Header(NamedTuple):
    """`layout:priority:made:started:stalled:endings:flags:expires:from:added[:finished[:nonce]]`.

    Times are epoch milliseconds by the clock of Redis; readers ignore further items.
    """

    priority: int
    made: int
    """Attempts that were charged."""
    started: int
    stalled: int
    endings: int
    """How often the job has ended; numbers its callbacks."""
    flags: str
    """C callback; B, R payload, result in blobs; E expires; D, F not kept when completed, failed;
    K, L kept without limit; S data and result sealed; A<ms>, X<ms> kept for an age of its own."""
    expires: str
    """By when it must have started; empty without such a time, and once it has started."""
    origin: str
    """The claim this record was copied from: `<lane>.<entry>.<worker>`, or `~<lane>.<entry>`, from
    which it was taken."""
    added: str
    finished: str = ""
    nonce: str = ""

    @classmethod
    def parse(cls, text: bytes) -> "Header":
        _, priority, made, started, stalled, endings, *rest = text.decode().split(":")
        return cls(int(priority), int(made), int(started), int(stalled), int(endings), *rest[:6])

    def render(self, *, nonce: bool = False) -> str:
        """The header up to `added` (the scripts append the time of the ending themselves), or with
        the nonce and no time, for a job that is not kept."""
        tail = f"::{self.nonce}" if nonce else ""
        return (
            f"{LAYOUT}:{self.priority}:{self.made}:{self.started}:{self.stalled}:{self.endings}:"
            f"{self.flags}:{self.expires}:{self.origin}:{self.added}{tail}"
        )

    def moved(self, origin: str, *, made: int, endings: int, flags: str | None = None) -> "Header":
        """The header after one more start that came from the claim `origin`."""
        return Header(
            self.priority,
            self.made + made,
            self.started + 1,
            self.stalled,
            self.endings + endings,
            self.flags if flags is None else flags,
            "",
            origin,
            self.added,
            self.finished,
            self.nonce,
        )


def fields(flat: list[bytes]) -> dict[bytes, bytes]:
    """A flat field list as a mapping. A packed delayed record (`p`) is unpacked."""
    pairs = dict(zip(flat[::2], flat[1::2], strict=True))
    packed = pairs.pop(b"p", None)
    if packed is not None:
        header, body, *rest = packed.split(b"\0")
        pairs |= {b"h": header, b"b": body, **dict(zip(rest[::2], rest[1::2], strict=True))}
    return pairs
