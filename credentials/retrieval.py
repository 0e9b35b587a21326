"""What somebody's credential refers to, fetched by a callable that is given: this package knows
no HTTP."""

from collections.abc import Awaitable, Callable

Retrieve = Callable[[str, int, str], Awaitable[bytes]]
"""(URL, most bytes, media types to ask for) -> body; raises NotRetrieved."""


class NotRetrieved(Exception):
    """Nothing came back. `transient`: it may, another time, not before `after_s` seconds."""

    def __init__(self, message: str, *, transient: bool, after_s: float = 0) -> None:
        super().__init__(message)
        self.transient = transient
        self.after_s = after_s


def check_status(status: int) -> None:
    """Return for 200. Raises NotRetrieved: 5xx, 408, 425 and 429 may pass, the rest will not (A5).

    Redirects are not followed, so they are answers like any other (H3).
    """
    if status != 200:
        transient = status >= 500 or status in (408, 425, 429)
        raise NotRetrieved(f"The server answered with HTTP status {status}.", transient=transient)
