"""A worker of emails for chaos tests: `python mail_worker.py '<JSON of Wanted>'`.

It is the real one, set up by its environment, with a short lease. When told to, it kills itself as
kill -9 would, right after the relay's 250 and before anything of that is stored.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from consumers import Worker
from consumers.mail.mailer import open_mailer
from consumers.mail.message import Outgoing
from consumers.mail.smtp import Accepted, BeforeData, Relay
from consumers.processor import Resources
from consumers.processors.emails import PROCESSOR
from streams import connect


@dataclass(frozen=True)
class Wanted:
    """What the test asks of this process."""

    url: str
    data_dir: str
    dies: bool
    lease_ms: int = 1_000


class Dying(Relay):
    """Delivers, and dies of it."""

    async def send(self, outgoing: Outgoing, before_data: BeforeData) -> Accepted:
        await super().send(outgoing, before_data)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


async def main(wanted: Wanted) -> None:
    """Work until SIGTERM."""
    redis = connect(wanted.url)
    async with open_mailer(Resources(redis, Path(wanted.data_dir))) as mailer:
        processor = replace(PROCESSOR, spec=replace(PROCESSOR.spec, lease_ms=wanted.lease_ms))
        worker = Worker(processor, redis=redis)
        backend = Dying(mailer.settings, "test") if wanted.dies else mailer.backend
        worker.state = replace(mailer, backend=backend)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()
    await redis.close()


if __name__ == "__main__":
    asyncio.run(main(Wanted(**json.loads(sys.argv[1]))))
