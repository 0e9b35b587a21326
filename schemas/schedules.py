"""When failed webhooks are tried again, by the names an organization chooses from (WH-16)."""

from typing import Literal, get_args

from schemas.job import Backoff, JobOptions

Schedule = Literal["standard", "durable"]
"""`standard`: what the queue says. `durable`: ten attempts over three days."""

STANDARD: Schedule = "standard"
NAMES: tuple[Schedule, ...] = get_args(Schedule)

OPTIONS: dict[Schedule, JobOptions] = {"durable": JobOptions(backoff=Backoff(type="durable"))}
"""What a schedule says of a job that does not say it itself; one that is not here says nothing."""
