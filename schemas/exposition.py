"""Rows of the table of metrics as the client library of Prometheus wants them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from schemas.metrics import BY_NAME, Row, Spread
from schemas.metrics import Metric as Definition


def families(rows: Iterable[Row]) -> Iterator[Metric]:
    """The metrics that `rows` are about; the rows of a metric may come in any order."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.name].append(row)
    for name, group in groups.items():
        yield _family(BY_NAME[name], group)


def _family(about: Definition, rows: list[Row]) -> Metric:
    if about.kind == "histogram":
        histogram = HistogramMetricFamily(about.name, about.help, labels=about.labels)
        for _, labels, value in rows:
            if isinstance(value, Spread):
                histogram.add_metric(labels, value.cumulative(), value.sum_s)
        return histogram
    kind = CounterMetricFamily if about.kind == "counter" else GaugeMetricFamily
    plain = kind(about.name, about.help, labels=about.labels)
    for _, labels, value in rows:
        if not isinstance(value, Spread):
            plain.add_metric(labels, value)
    return plain
