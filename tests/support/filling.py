"""Queues of many jobs, made by one script: adding and claiming them one by one would take long."""

from typing import Any

from streams.keys import GROUP, QueueKeys

FILL = """
local function fill(lane, count, first, body, header)
  for k = first, first + count - 1 do
    local id = ':job-' .. k
    local entry = redis.call('XADD', KEYS[1], '*', 'j', id, 'h', header, 'b', body)
    redis.call('HSET', KEYS[2], id, (lane == '-1' and 'b:' or lane .. ':') .. entry)
  end
  redis.call('ZADD', KEYS[3], lane, lane)
end
redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[7], '0', 'MKSTREAM')
fill(ARGV[1], ARGV[2] + 0, ARGV[3] + 0, ARGV[4], ARGV[5])
if ARGV[6] ~= '' then
  redis.call('XREADGROUP', 'GROUP', ARGV[7], ARGV[6], 'COUNT', ARGV[2], 'STREAMS', KEYS[1], '>')
end
return redis.call('TIME')
"""
BODY = '{"name":"work","data":{"text":"%s"},"opts":{}}'


def fill(
    raw: Any,
    keys: QueueKeys,
    count: int,
    *,
    lane: int = 5,
    first: int = 0,
    worker: str = "",
    size: int = 0,
    expires: int | None = None,
    stalled: int = 0,
) -> list[str]:
    """Put `count` jobs into a lane, with payloads of `size` characters -> their ids, `job-<first>`
    and so on (inside with `:` before them). `worker`: who has claimed them; `expires`: epoch ms."""
    flags, until = ("E", str(expires)) if expires is not None else ("", "")
    priority = max(0, min(lane, 10))
    header = f"1:{priority}:0:0:{stalled}:0:{flags}:{until}::1"
    raw.eval(
        FILL,
        3,
        *(keys.lane(lane), keys["jobs"], keys["lanes"]),
        *(lane, count, first, BODY % ("x" * size), header, worker, GROUP),
    )
    return [f"job-{n}" for n in range(first, first + count)]


def silence(raw: Any, keys: QueueKeys, lane: int, worker: str, idle_ms: int = 3_600_000) -> None:
    """Claims of a worker in a lane have not been renewed for `idle_ms`."""
    held = raw.xpending_range(keys.lane(lane), GROUP, "-", "+", 1_000_000, worker)
    entries = [one["message_id"] for one in held]
    for at in range(0, len(entries), 1_000):
        part = entries[at : at + 1_000]
        raw.xclaim(keys.lane(lane), GROUP, worker, 0, part, idle=idle_ms, justid=True)
