"""Tables for a terminal."""

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from streams.access import KeyRecord

PIPED_WIDTH = 10_000
COUNTS = ("waiting", "active", "delayed", "completed", "failed", "total")


def print_table(table: Table) -> None:
    """Print to standard output; a pipe gets whole lines, whatever their width."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(emoji=False, width=width).print(table)


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


def settings_table(settings: Iterable[Mapping[str, str]]) -> Table:
    """Settings, one a row. Their values came from outside: no markup."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "value", "source"):
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for one in settings:
        table.add_row(*(Text(one[column]) for column in ("name", "value", "source")))
    return table


def api_keys_table(records: Iterable["KeyRecord"], now_ms: int) -> Table:
    """API keys, one a row. Their names came from somebody else: no markup."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("id", "name", "organization", "scopes", "made", "state"):
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    for record in records:
        state = "valid" if record.is_valid(now_ms) else "expired"
        made = datetime.fromtimestamp(record.created_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            record.id,
            Text(record.name),
            Text(record.organization_id or "(platform)"),
            " ".join(record.scopes),
            made,
            "revoked" if record.revoked_ms is not None else state,
        )
    return table


def _cell(count: str, number: int) -> str:
    if number == 0:
        return "[dim]0[/]"
    return f"[bold red]{number}[/]" if count == "failed" else str(number)
