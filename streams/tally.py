"""What one process did to Redis, in plain numbers. Whoever exports metrics reads them."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from schemas.metrics import REASONS, REDIS_ERRORS, Row


class Tally:
    """Counts only ever go up; they begin at 0 with the process."""

    __slots__ = ("added", "buried", "errors", "stalled", "write_s")

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
        self.write_s: float | None = None
        """How long the last probing write took; None when it failed or there was none."""

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Around a probing write."""
        began_s = time.monotonic()
        try:
            yield
        except BaseException:
            self.write_s = None
            raise
        self.write_s = time.monotonic() - began_s

    def rows(
        self, queues: Iterable[str], reasons: Counter[tuple[str, str]] | None = None
    ) -> Iterator[Row]:
        """The numbers under their names (schemas.metrics), for `queues` and no others; 0 where
        nothing happened. `reasons`: dead letters counted elsewhere in this process."""
        yield Row("credstream_redis_up", (), float(self.write_s is not None))
        if self.write_s is not None:
            yield Row("credstream_redis_latency_seconds", (), self.write_s)
        for kind in REDIS_ERRORS:
            yield Row("credstream_redis_errors_total", (kind,), self.errors[kind])
        more = reasons or Counter()
        for queue in queues:
            yield Row("credstream_jobs_added_total", (queue,), self.added[queue])
            for reason in REASONS:
                count = self.buried[queue, reason] + more[queue, reason]
                yield Row("credstream_dead_letters_total", (queue, reason), count)
