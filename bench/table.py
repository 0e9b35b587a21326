"""The figures, their targets, and the table that is printed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Measured = Mapping[str, float]
Round = Mapping[str, Mapping[str, Measured]]
"""Step name -> side (`ours`, and the peer) -> what it printed."""

WIDTHS = (54, 12, 12, 9, 11, 0)


@dataclass(frozen=True)
class Step:
    """One measurement both sides make."""

    figure: str
    words: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Figure:
    """One row: where its value comes from and what it must be."""

    label: str
    step: str
    value: Callable[[Measured], float]
    unit: str
    target: float
    more_is_better: bool = False
    absolute: bool = False
    """The target is for our value in `unit`, not for the ratio."""

    def met(self, ours: float, ratio: float) -> bool:
        """Whether our value (or the ratio) reaches the target."""
        value = ours if self.absolute else ratio
        return value >= self.target if self.more_is_better else value <= self.target

    @property
    def wanted(self) -> str:
        """The target in words."""
        sign = ">=" if self.more_is_better else "<="
        return f"{sign} {self.target:.3g} {self.unit if self.absolute else 'x'}"


def field(name: str) -> Callable[[Measured], float]:
    """A value as it was printed."""
    return lambda measured: measured[name]


def _cpu(measured: Measured) -> float:
    return measured["cpu_add_us"] + measured["cpu_process_us"]


FIGURES = (
    Figure("bulk add", "cycle-100", field("add_per_s"), "jobs/s", 4, more_is_better=True),
    Figure(
        "add one at a time, awaited",
        "add-one",
        field("add_one_per_s"),
        "jobs/s",
        1,
        more_is_better=True,
    ),
    Figure(
        "process no-op, concurrency 100, results kept",
        "cycle-100",
        field("process_per_s"),
        "jobs/s",
        2.5,
        more_is_better=True,
    ),
    Figure(
        "process no-op, concurrency 5, results kept",
        "cycle-5",
        field("process_per_s"),
        "jobs/s",
        1.2,
        more_is_better=True,
    ),
    Figure("idle pick-up latency p50", "latency", field("p50_ms"), "ms", 1 / 3),
    Figure("idle pick-up latency p99", "latency", field("p99_ms"), "ms", 1 / 3),
    Figure("Redis CPU per job, add + process at 100", "cycle-100", _cpu, "us", 1 / 4),
    Figure("Redis CPU per job, add + process at 5", "cycle-5", _cpu, "us", 1 / 2),
    Figure("memory per waiting job", "cycle-100", field("waiting_bytes"), "B", 0.6),
    Figure("memory per completed job", "cycle-100", field("completed_bytes"), "B", 0.4),
    Figure("jobs delayed by 1 s, lateness p50", "delayed", field("p50_ms"), "ms", 1 / 3),
    Figure("jobs delayed by 1 s, lateness p99", "delayed", field("p99_ms"), "ms", 1 / 3),
    Figure(
        "kill -9 with 100 active jobs, 5 s settings",
        "recover-5s",
        field("recovery_s"),
        "s",
        6,
        absolute=True,
    ),
    Figure(
        "kill -9 with 100 active jobs, defaults",
        "recover",
        field("recovery_s"),
        "s",
        31,
        absolute=True,
    ),
)


def table(
    rounds: Sequence[Round],
    figures: Sequence[Figure] = FIGURES,
    *,
    peer: str = "bullmq",
    heading: str = "BullMQ",
) -> str:
    """A row for every figure that was measured: medians over the rounds."""
    head = ("figure", heading, "ours", "ratio", "target", "")
    rows = [_row(figure, rounds, peer) for figure in figures if figure.step in rounds[0]]
    return "\n".join(_line(row) for row in (head, *rows))


def _row(figure: Figure, rounds: Sequence[Round], peer: str) -> tuple[str, ...]:
    pairs = [
        (figure.value(one[figure.step][peer]), figure.value(one[figure.step]["ours"]))
        for one in rounds
        if figure.step in one
    ]
    theirs, ours = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    ratio = median(pair[1] / pair[0] for pair in pairs)
    verdict = "ok" if figure.met(ours, ratio) else "not reached"
    label = f"{figure.label} [{figure.unit}]"
    return (label, _number(theirs), _number(ours), f"{ratio:.2f} x", figure.wanted, verdict)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _line(cells: Sequence[str]) -> str:
    first, *rest, verdict = cells
    middle = "".join(f"{cell:>{width}}" for cell, width in zip(rest, WIDTHS[1:], strict=False))
    return f"{first:<{WIDTHS[0]}}{middle}  {verdict}".rstrip()


def floor_line(floor: Measured) -> str:
    """What plain streams cost on the same server."""
    return (
        f"raw streams floor (XADD, XREADGROUP COUNT 100, XACK + XDEL): "
        f"{_cpu(floor):.1f} us of Redis CPU per job, {floor['add_per_s']:,.0f} added/s, "
        f"{floor['process_per_s']:,.0f} processed/s"
    )
