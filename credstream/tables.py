"""Tables for a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

COUNTS = ("waiting", "active", "delayed", "completed", "failed", "total")


def stats_table(queues: Iterable[Mapping[str, Any]]) -> Table:
    """The counts of `GET /queue/stats`, one queue a row. Failed ones stand out; zeros do not."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("queue", overflow="fold")
    for count in (*COUNTS, "workers"):
        table.add_column(count, justify="right", no_wrap=True)
    for queue in queues:
        name = f"{queue['name']} [yellow](paused)[/]" if queue.get("paused") else queue["name"]
        cells = [_cell(count, queue.get(count, 0)) for count in COUNTS]
        table.add_row(name, *cells, str(queue.get("workers", "")))
    return table


def mail_table(messages: Iterable[Mapping[str, Any]]) -> Table:
    """Captured mail, one message a row. What is in them came from somebody else: no markup."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("id", "date", "to", "subject"):
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    for message in messages:
        table.add_row(*(Text(str(message[name])) for name in ("id", "date", "to", "subject")))
    return table


def _cell(count: str, number: int) -> str:
    if number == 0:
        return "[dim]0[/]"
    return f"[bold red]{number}[/]" if count == "failed" else str(number)
