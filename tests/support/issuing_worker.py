"""A vc-issuance worker that can be killed between signing and completing.

    python issuing_worker.py '{"url": ..., "data_dir": ..., "report": ..., "hold": true}'

It appends each result it has computed to the report, one JSON line each; with `hold` it then waits
for ever, so that nothing is stored.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from consumers import Worker
from consumers.processor import Context, Processor, Resources
from consumers.processors import vc_issuance
from streams import Job, connect

LEASE_MS = 1_000


async def main(url: str, data_dir: str, report: str, hold: bool) -> None:
    """Work until killed."""
    redis = connect(url)

    async def handle(job: Job, context: Context) -> dict[str, Any]:
        result = await vc_issuance.handle(job, context)
        with Path(report).open("a") as file:
            file.write(json.dumps(result) + "\n")
        if hold:
            await asyncio.Event().wait()
        return result

    spec = replace(vc_issuance.SPEC, lease_ms=LEASE_MS)
    worker = Worker(Processor(spec=spec, handle=handle), redis=redis)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(redis.close)
        opened = vc_issuance.open_issuance(Resources(redis, data_dir=Path(data_dir)))
        worker.state = await stack.enter_async_context(opened)
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
