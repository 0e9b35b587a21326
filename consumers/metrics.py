"""What a worker or a scheduler exports to Prometheus. Counting costs jobs next to nothing: numbers
are plain ones (`consumers.hooks.metrics`, `streams.tally`) until a scrape asks for them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from consumers.hooks.metrics import JobNumbers
from schemas.exposition import families
from schemas.metrics import Row
from schemas.release import version
from schemas.spec import catalog
from streams import Redis
from streams.durability import Standing


class WorkerMetrics(Collector):
    """Everything one process of this floor exports, in a registry of its own."""

    def __init__(
        self,
        redis: Redis,
        numbers: Sequence[JobNumbers] = (),
        *,
        role: Literal["worker", "scheduler"] = "worker",
        queues: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """`queues`: those it looks after; None: those that `numbers` are of."""
        self._redis = redis
        self._numbers = numbers
        self._role = role
        self._queues = queues or (lambda: [one.queue for one in numbers])
        self._lag_s = 0.0
        self.standing: Standing | None = None
        """Whether Redis keeps what the durability level promises; None: it was not asked yet."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def exposition(self, lag_s: float = 0.0) -> bytes:
        """The text format; `lag_s` is that of the event loop."""
        self._lag_s = lag_s
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        return families(self._rows())

    def _rows(self) -> Iterator[Row]:
        yield Row("credstream_build_info", (version(), self._role), 1)
        yield Row("credstream_event_loop_lag_seconds", (), self._lag_s)
        if self.standing is not None:
            yield Row("credstream_durability_met", (self.standing.level,), float(self.standing.met))
        served, tally = [*self._queues()], self._redis.tally
        buried: Counter[tuple[str, str]] = Counter()
        for one in self._numbers:
            yield from one.rows()
            buried.update({(one.queue, reason): n for reason, n in one.reasons.items()})
        for queue in served:
            yield Row("credstream_jobs_stalled_total", (queue,), tally.stalled[queue])
        yield from tally.rows(dict.fromkeys([*served, *catalog()]), buried)
