"""`credstream scheduler`: what keeps queues in order whose workers are scaled to none."""

import click

from credstream.commands.serve import log_format_option, log_level_option, run
from credstream.logs import configure


@click.command()
@log_level_option
@log_format_option
def scheduler(log_level: str, log_format: str | None) -> None:
    """Keep every queue in order, and work on none.

    Delayed jobs become due, jobs of dead workers wait again, old jobs disappear, callbacks are
    queued, whether or not workers of the queue run. Workers do the same for their queue; where
    some always run, no scheduler is needed. Any number may run. PROBE_HOST and PROBE_PORT say
    where probes and metrics are.
    """
    from consumers.scheduler import run_scheduler
    from consumers.settings import WorkerSettings

    settings = WorkerSettings()
    configure(log_level, log_format)
    run(run_scheduler(settings))
