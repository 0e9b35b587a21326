"""A fuzzer that knows the description of the API finds nothing against the gateway that runs."""

import asyncio
import base64
import sys
from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from streams import Queue, Redis
from tests.gateway.callers import key, scopes_of_role
from tests.gateway.samples import Serve

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"
# What JSON Schema cannot say is refused although it fits the description. 422: what a queue's own
# model or two members together forbid. 400: JSON that cannot be kept (an integer beyond 64 bits in
# free-form data, API-15), a cursor that is none, a page whose end lies before its start, and what
# the VC API wants to be 400. 409: a state, an id or an idempotency key that is taken. 304: the
# client named the ETag.
CONFIG = """
[parameters]
"path.name" = "fuzz"

[checks]
positive_data_acceptance.expected-statuses = [
    "2xx", "304", "400", "401", "403", "404", "409", "422",
]
"""
EXAMPLES = 8
LEFT_OUT = "^/(dashboard|docs|events|keys|queue/.*/events)"
"""Pages; streams without an end; the keys that it calls with."""


@pytest.mark.timeout(300)
async def test_it_finds_nothing(
    serve: Serve, redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek = base64.urlsafe_b64encode(b"k" * 32).decode().rstrip("=")
    monkeypatch.setenv("CREDSTREAM_WEBHOOK_KEKS", f"k1:{kek}")
    await Queue("fuzz", redis).register()
    text = await key(redis, scopes_of_role("all"))
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    async with serve(GatewaySettings(host="127.0.0.1", port=0, rate_limit=0)) as http:
        async with http.get("/openapi.json") as response:
            where = str(response.url)
        process = await asyncio.create_subprocess_exec(
            SCHEMATHESIS,
            *("--config-file", str(config), "run", where, "--header", f"X-API-Key: {text}"),
            *("--phases", "coverage,fuzzing,stateful", "--mode", "all", "--checks", "all"),
            *("--max-examples", str(EXAMPLES), "--seed", "1"),
            *("--exclude-path-regex", LEFT_OUT),
            *("--no-color", "--warnings", "off"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-8_000:]
    # Its last requests may have deleted the queue.
    assert redis.tally.added["fuzz"] > 0, "nothing was ever submitted"
