"""A webhooks worker as a process: `python delivering_worker.py <Redis URL> <key ring> <limit>`.

It may call loopback, and lets `limit` deliveries run at once for each destination.
"""

import asyncio
import signal
import sys
from dataclasses import replace

import working

from consumers.processors.webhooks import PROCESSOR
from credentials.keyring import Keyring
from streams import connect
from streams.destinations import Rules

LEASE_MS = 2_000
"""Jobs of a worker that was killed come back soon."""


async def main(url: str, ring: str, limit: int) -> None:
    """Work until SIGTERM."""
    working.RING = Keyring.parse(ring)
    working.PROCESSOR = replace(PROCESSOR, spec=replace(PROCESSOR.spec, lease_ms=LEASE_MS))
    stop, redis = asyncio.Event(), connect(url)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with working.delivering(redis, Rules(concurrency=limit)):
        await stop.wait()
    await redis.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
