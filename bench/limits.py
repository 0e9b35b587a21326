"""What slow clients and endless bodies do to everybody else who asks one gateway something.

    python -m bench.limits drip [--connections 500] [--seconds 5]
    python -m bench.limits lines [--lines 100000] [--mebibytes 50]

`drip`: half of the connections send the header lines of a request, half its body, a byte every half
second each (API-16). `lines`: one NDJSON body (API-7), written as fast as it is taken and its
answers read meanwhile. A prober, a process of its own like the slow clients, submits one job after
the other on one connection and times the answers, before, meanwhile and after.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

from bench.gateway import GRACE_S, JOBS, PAYLOAD, Gateway, Load, request_of, start
from bench.server import flush, serving, version
from bench.usage import spread
from credstream.process import end

KEEPALIVE_S, BODY_S = 12, 10
"""Of the gateway that is dripped on, so that a run sees them end: header lines, body."""
GAP_S = 0.5
SAMPLE_S = 0.05
ROOT = Path(__file__).parent.parent


async def _client(*words: str) -> Process:
    argv = (sys.executable, "-m", "bench.limits", *words)
    return await asyncio.create_subprocess_exec(*argv, cwd=ROOT, stdin=PIPE, stdout=PIPE)


async def _line(client: Process) -> bytes:
    assert client.stdout is not None
    return await client.stdout.readline()


async def asked(port: int, seconds: float) -> dict[str, float]:
    """What a client that behaves sees: submissions one after the other, for a while."""
    client = await _client("ask", str(port), str(seconds))
    said, _ = await client.communicate()
    answer: dict[str, float] = json.loads(said)
    return answer


async def ask(port: int, seconds: float) -> None:
    """The prober's process. With 0 seconds: until standard input ends."""
    request = request_of(Load("one", 1), port, "")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stop = asyncio.create_task(
        asyncio.to_thread(sys.stdin.read) if not seconds else asyncio.sleep(seconds)
    )
    ms: list[float] = []
    while not stop.done():
        began_s = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 202 " not in head[:20]:
            sys.exit(head.decode())
        await reader.readexactly(_length(head))
        ms.append(1_000 * (time.perf_counter() - began_s))
        await asyncio.sleep(0.002)
    print(json.dumps({"answers": len(ms), **spread(ms), "worst_ms": max(ms)}))


def _length(head: bytes) -> int:
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    return int(lines[b"content-length"])


async def dripping(port: int, number: int) -> str:
    """One slow client; how it ended, and after how many seconds."""
    request = request_of(Load("one", 1), port, "")
    head = request.index(b"\r\n\r\n") + 4
    at = head if number % 2 else 5
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_s = time.monotonic()
    writer.write(request[:at])
    told = asyncio.create_task(reader.read())
    while not told.done():
        await asyncio.wait({told}, timeout=GAP_S)
        writer.write(request[at : at + 1])
        at += 1
    writer.close()
    try:
        answer = told.result()
    except ConnectionError:
        answer = b""
    word = answer[9:12].decode() or "closed"
    return f"{'body' if number % 2 else 'head'} {word} {time.monotonic() - began_s:.0f} s"


async def drip(port: int, connections: int) -> None:
    """The process of the slow clients."""
    them = [asyncio.create_task(dripping(port, number)) for number in range(connections)]
    await asyncio.sleep(1)
    print("dripping", flush=True)
    print(json.dumps(Counter(await asyncio.gather(*them))))


async def run_drip(gateway: Gateway, connections: int, seconds: float) -> None:
    """Before, during, after."""
    shown = {"before": await asked(gateway.port, seconds)}
    client = await _client("drips", str(gateway.port), str(connections))
    await _line(client)
    shown["during"] = await asked(gateway.port, seconds)
    ended = json.loads(await _line(client))
    await client.wait()
    shown["after"] = await asked(gateway.port, seconds)
    for name, one in shown.items():
        print(f"{name:<8}{_told(one)}")
    for what, count in sorted(ended.items()):
        print(f"  {count:>4} ended: {what}")


def _told(one: dict[str, float]) -> str:
    return (
        f"{one['answers']:>6} answers, p50 {one['p50_ms']:.1f}, p99 {one['p99_ms']:.1f}, "
        f"worst {one['worst_ms']:.0f} ms"
    )


async def lines(port: int, count: int, size: int) -> None:
    """The process of the one long body."""
    claims = {"text": ""}
    job = {"data": {**PAYLOAD, "claims": claims}}
    claims["text"] = "x" * (size - len(json.dumps(job)) - 1)
    line = json.dumps(job).encode() + b"\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {JOBS} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/x-ndjson\r\nContent-Length: {count * len(line)}\r\n\r\n"
    began_s = time.monotonic()
    reading = asyncio.create_task(_count(reader))
    writer.write(head.encode())
    for _ in range(count // 100):
        writer.write(line * 100)
        await writer.drain()
    found = await reading
    took_s = time.monotonic() - began_s
    print(json.dumps({"queued": found, "mib": count * len(line) / 2**20, "seconds": took_s}))


async def _count(reader: asyncio.StreamReader) -> int:
    """Successes in the answer, in constant memory."""
    found, rest = 0, b""
    while piece := await reader.read(65_536):
        *whole, rest = (rest + piece).split(b"\n")
        found += sum(b'{"success":true' in one for one in whole)
    return found


async def run_lines(gateway: Gateway, count: int, mebibytes: float) -> None:
    """The prober's answers and the memory of the gateway, before and meanwhile."""
    before = await asked(gateway.port, 5)
    idle_mib = peak_mib = _rss_mib(gateway)
    prober = await _client("ask", str(gateway.port), "0")
    size = int(mebibytes * 2**20 / count)
    client = await _client("body", str(gateway.port), str(count), str(size))
    said = asyncio.create_task(client.communicate())
    while not said.done():
        await asyncio.sleep(SAMPLE_S)
        peak_mib = max(peak_mib, _rss_mib(gateway))
    sent = json.loads((await said)[0])
    during = json.loads((await prober.communicate(b""))[0])
    print(
        f"{count:,} lines, {sent['mib']:.1f} MiB: {sent['queued']:,} queued in "
        f"{sent['seconds']:.1f} s ({count / sent['seconds']:,.0f} lines/s); resident memory of the "
        f"gateway {idle_mib:.0f} MiB before, {peak_mib:.0f} MiB at most"
    )
    print(f"before  {_told(before)}", f"during  {_told(during)}", sep="\n")


def _rss_mib(gateway: Gateway) -> float:
    pages = int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1])
    return pages * 4_096 / 2**20


async def measure(wanted: argparse.Namespace, redis: Path) -> None:
    """Start a gateway and do what is wanted to it."""
    flush(redis)
    limits = {"KEEPALIVE_TIMEOUT_S": str(KEEPALIVE_S), "BODY_TIMEOUT_S": str(BODY_S)}
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as folder:
        settings = limits if wanted.what == "drip" else {}
        gateway = await start("ours", redis, folder, **settings)
        try:
            await asked(gateway.port, 2)  # warm
            print(f"{version(redis)}; {' '.join(f'{k}={v}' for k, v in settings.items())}".rstrip())
            if wanted.what == "drip":
                await run_drip(gateway, wanted.connections, wanted.seconds)
            else:
                await run_lines(gateway, wanted.lines, wanted.mebibytes)
        finally:
            await end(gateway.process, grace_s=GRACE_S)


def main() -> None:
    """As the first word says."""
    roles = {"ask": ask, "drips": drip, "body": lines}
    if len(sys.argv) > 2 and sys.argv[1] in roles:
        numbers = [float(word) if "." in word else int(word) for word in sys.argv[2:]]
        asyncio.run(roles[sys.argv[1]](*numbers))  # type: ignore[operator]
        return
    parser = argparse.ArgumentParser(description="Slow clients and long bodies.")
    parser.add_argument("what", choices=("drip", "lines"))
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--mebibytes", type=float, default=50.0)
    wanted = parser.parse_args()
    with serving("valkey") as redis:
        asyncio.run(measure(wanted, redis))


if __name__ == "__main__":
    main()
