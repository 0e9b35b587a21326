"""`credstream mail`: looks at what development captured instead of sending it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from credstream.datadir import default_data_dir
from credstream.sentences import Told

if TYPE_CHECKING:
    from gateway.captured import Captured

SHOWN_HEADERS = (
    "From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "X-Tag",
)  # fmt: skip
LISTED = 20

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    envvar="DATA_DIR",
    help="Where `credstream up` keeps its data.  [default: as for up]",
)
json_option = click.option("as_json", "--json", is_flag=True, help="Print JSON.")


@click.group()
def mail() -> None:
    """Look at captured mail. In development nothing is sent: every message is kept as a file."""


@mail.command("list")
@click.option("-n", "count", type=click.IntRange(1, 1_000), default=LISTED, show_default=True)
@json_option
@data_dir_option
def list_(count: int, as_json: bool, data_dir: Path | None) -> None:
    """List captured messages, newest first."""
    captured = _captured(data_dir)
    found = captured.page(0, count - 1)
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        return
    if not found:
        click.echo(f"No mail was captured in {captured.folder}.", err=True)
        return
    from credstream.tables import mail_table, print_table

    print_table(mail_table(found))


@mail.command()
@click.argument("mail_id", metavar="[ID]", required=False)
@click.option("--html", is_flag=True, help="Print the HTML of the message.")
@click.option("--raw", is_flag=True, help="Print the message as it would have been sent.")
@json_option
@data_dir_option
def show(mail_id: str | None, html: bool, raw: bool, as_json: bool, data_dir: Path | None) -> None:
    """Show one captured message; the newest when no ID is given."""
    captured = _captured(data_dir)
    mail_id = mail_id or _newest(captured)
    message = captured.show(mail_id)
    content = captured.raw(mail_id)
    if message is None or content is None:
        raise Told(f"No captured mail has the id {mail_id}. `credstream mail list` shows the ids.")
    if raw:
        click.echo(content, nl=False)
    elif as_json:
        click.echo(orjson.dumps(message, option=orjson.OPT_INDENT_2))
    elif html:
        click.echo(_plain(message["html"] or ""))
    else:
        click.echo(_plain(_written(message)))


def _captured(data_dir: Path | None) -> "Captured":
    from gateway.captured import FOLDER, Captured

    place = (data_dir or default_data_dir()).expanduser().absolute()
    return Captured(place / FOLDER)


def _newest(captured: "Captured") -> str:
    newest = captured.page(0, 0)
    if not newest:
        raise Told(f"No mail was captured in {captured.folder}.")
    return str(newest[0]["id"])


def _written(message: Mapping[str, Any]) -> str:
    """Headers, text and names of files, as a mail program shows them."""
    lines = [
        f"{header['name']}: {header['value']}"
        for header in message["headers"]
        if header["name"] in SHOWN_HEADERS
    ]
    lines += ["", message["text"] or "(no text)"]
    for file in message["attachments"]:
        lines.append(f"[{file['filename']}, {file['contentType']}, {file['sizeBytes']} bytes]")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Nothing that a terminal would obey: what is in a message came from somebody else."""
    return "".join(char if char.isprintable() or char in "\n\t" else " " for char in text)
