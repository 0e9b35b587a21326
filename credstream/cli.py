"""The command line. What goes wrong is told in a sentence, never in a traceback."""

import sys
from pathlib import Path
from typing import Any

import click

from credstream import __version__
from credstream.commands.client import stats, submit
from credstream.commands.doctor import doctor
from credstream.commands.health import health
from credstream.commands.issue import issue
from credstream.commands.keys import keys
from credstream.commands.mail import mail
from credstream.commands.queue import queue
from credstream.commands.recover import recover
from credstream.commands.scheduler import scheduler
from credstream.commands.serve import gateway, worker
from credstream.commands.settings import settings
from credstream.commands.up import up
from credstream.commands.verify import verify
from credstream.environment import load_env_file
from credstream.sentences import Told, tell


class Sentences(click.Group):
    """A group whose commands' exceptions become one message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever it raises leaves as a `click.ClickException`."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            told: Told = tell(error)
            raise told from None


@click.group(cls=Sentences, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show where in the program an error came from.")
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    help="Settings that the environment does not make.  [default: .env here, if there is one]",
)
@click.version_option(__version__, message="credstream %(version)s")
def main(debug: bool, env_file: Path | None) -> None:
    """Credstream, a job-queue system for credential platforms on Redis Streams.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody to talk to.
    """
    del debug  # read by Sentences.invoke
    load_env_file(env_file)


@main.command()
def version() -> None:
    """Print the version and where this program runs."""
    click.echo(f"credstream {__version__} (Python {sys.version.split()[0]})")


COMMANDS = (
    *(up, gateway, worker, scheduler, submit, stats, queue, keys),
    *(issue, verify, mail, doctor, recover, health, settings),
)
for command in COMMANDS:
    main.add_command(command)
