"""The other side of `bench.burst`, as processes of their own: a load, and probes.

    python -m bench.burst_client load PORT COUNT < body    COUNT submissions in flight at once
    python -m bench.burst_client probe URL ...             GETs until standard input ends

Both print JSON. Times are `time.monotonic()`, one clock for all processes of a machine. Plain
sockets: what a load generator spends here, the gateway beside it does not get.
"""

import json
import selectors
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

GAP_S = 0.01
"""Between the beginnings of two probes of one address."""
PATIENCE_S = 60.0
END = b"\r\n\r\n"


def finished(answer: bytes) -> bool:
    """Whether an HTTP answer with a Content-Length has come completely."""
    head, end, body = answer.partition(END)
    if not end:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True


@dataclass
class Submission:
    """One request of the load, on a connection of its own."""

    socket: socket.socket
    began_s: float
    ended_s: float = 0.0
    answer: bytearray = field(default_factory=bytearray)


def load(port: int, count: int, body: bytes) -> dict[str, object]:
    """Connect `count` times, then send on all connections before the first answer is read."""
    host = f"127.0.0.1:{port}"
    request = (
        f"POST /queue/vc-issuance/jobs HTTP/1.1\r\nHost: {host}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    waiting = selectors.DefaultSelector()
    connecting_s = time.monotonic()
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    all_of_them = []
    for line in lines:
        all_of_them.append(Submission(line, time.monotonic()))
        line.sendall(request)
    for one in all_of_them:
        one.socket.setblocking(False)
        waiting.register(one.socket, selectors.EVENT_READ, one)
    left = count
    while left:
        ready = waiting.select(PATIENCE_S)
        if not ready:
            sys.exit(f"{left} of {count} submissions were not answered in {PATIENCE_S:g} s")
        for key, _ in ready:
            left -= _read(waiting, key.data)
    taken = sum(one.answer.startswith(b"HTTP/1.1 202") for one in all_of_them)
    return {
        "began_s": connecting_s,
        "ended_s": max(one.ended_s for one in all_of_them),
        "taken": taken,
        "ms": [1_000 * (one.ended_s - one.began_s) for one in all_of_them],
    }


def _read(waiting: selectors.BaseSelector, one: Submission) -> int:
    got = one.socket.recv(65_536)
    one.answer += got
    if got and not finished(bytes(one.answer)):
        return 0
    one.ended_s = time.monotonic()
    waiting.unregister(one.socket)
    one.socket.close()
    return 1


def probe(url: str, samples: list[tuple[float, float]], end: threading.Event) -> None:
    """Adds (when it was due, how many ms later its answer was there). What became due while an
    answer was waited for counts as asked when it was due: a stall is not one sample but many."""
    where = urlsplit(url)
    request = f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()
    with socket.create_connection((where.hostname, where.port)) as line:
        due_s = time.monotonic()
        while not end.is_set():
            line.sendall(request)
            answer = b""
            while not finished(answer):
                answer += line.recv(65_536)
            now_s = time.monotonic()
            while due_s <= now_s:
                samples.append((due_s, 1_000 * (now_s - due_s)))
                due_s += GAP_S
            time.sleep(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s, time.monotonic())


def probes(urls: list[str]) -> dict[str, list[tuple[float, float]]]:
    """The samples of each, until standard input ends."""
    end = threading.Event()
    samples: dict[str, list[tuple[float, float]]] = {url: [] for url in urls}
    threads = [threading.Thread(target=probe, args=(url, samples[url], end)) for url in urls]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    end.set()
    for thread in threads:
        thread.join()
    return samples


def main() -> None:
    """As the first word says."""
    mode, *words = sys.argv[1:]
    if mode == "load":
        print(json.dumps(load(int(words[0]), int(words[1]), sys.stdin.buffer.read())))
    else:
        print(json.dumps(probes(words)))


if __name__ == "__main__":
    main()
