"""What one process did to Redis, in plain numbers. Whoever exports metrics reads them."""

from collections import Counter


class Tally:
    """Counts only ever go up; they begin at 0 with the process."""

    __slots__ = ("added", "buried", "errors", "stalled")

    def __init__(self) -> None:
        self.added: Counter[str] = Counter()
        """Jobs stored, by queue."""
        self.buried: Counter[tuple[str, str]] = Counter()
        """Jobs moved to the dead letters without a handler's word, by queue and reason:
        expired, cancelled, stalled, callback."""
        self.stalled: Counter[str] = Counter()
        """Jobs taken back from silent workers, by queue."""
        self.errors: Counter[str] = Counter()
        """unreachable, lost (each once per connection), not_now, full, refused."""
