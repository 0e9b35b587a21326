"""A queue as heavy as a legal one can be: many jobs everywhere, large ones where scripts read."""

from dataclasses import dataclass
from typing import Any

from streams.keys import LANES, QueueKeys

QUEUE = "heavy"
KEYS = QueueKeys(QUEUE)
TEXT_BYTES = 31 * 1024
LARGE = 600
"""Jobs with a payload of `TEXT_BYTES` in each place, where a script begins to read."""
EXPIRED = 100_000
ACTIVE = 20_000
ACTIVE_LANE = 5
WORKERS = 1_000
DROPPED = 20_000
SMALL_DELAYED = 6_000
GRANTS = 10_000
NOW_MS = "(function() local t = redis.call('TIME') return t[1] * 1000 end)()"

_COMMON = f"""#!lua
local now = {NOW_MS}
local function body(large)
  local text = string.rep('x', large and {TEXT_BYTES} or 8)
  return '{{"name":"work","data":{{"text":"' .. text .. '"}}}}'
end
local large, small = body(true), body(false)
local function header(priority, flags, finished)
  local tail = finished and ':' .. finished or ''
  return '1:' .. priority .. ':1:1:0:1:' .. flags .. '::5.1-0:1000' .. tail
end
"""
_ENDED = (
    _COMMON
    + """
local stream, jobs, expiry = KEYS[1], KEYS[2], KEYS[3]
local kind, count, heavy, flags = ARGV[1], ARGV[2] + 0, ARGV[3] + 0, ARGV[4]
for n = 1, count do
  local id = kind .. ARGV[5] .. '-' .. n
  local entry = redis.call('XADD', stream, '*', 'j', id, 'h', header(5, flags, 2000), 'b',
    n <= heavy and large or small, 'x', '[{"attempt":1,"reason":"failed","message":"boom","at":1}]')
  redis.call('HSET', jobs, id, kind .. ':' .. entry)
  if flags ~= '' then redis.call('ZADD', expiry, 1, entry) end
end
return count
"""
)
_LANE = (
    _COMMON
    + """
local lane, jobs, lanes = KEYS[1], KEYS[2], KEYS[3]
local priority, count, heavy, workers = ARGV[1], ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0
redis.pcall('XGROUP', 'CREATE', lane, 'workers', '0', 'MKSTREAM')
for n = 1, count do
  local id = priority .. ARGV[5] .. '-' .. n
  local head = priority == '11' and '1:5:1:1:1:1:::5.1-0:1000' or header(math.max(priority, 0), '')
  local entry = redis.call('XADD', lane, '*', 'j', id, 'h', head,
    'b', n <= heavy and large or small)
  redis.call('HSET', jobs, id, (priority == '-1' and 'b' or priority) .. ':' .. entry)
end
for n = 1, workers do
  redis.call('XREADGROUP', 'GROUP', 'workers', 'w' .. n, 'COUNT', math.ceil(count / workers),
    'STREAMS', lane, '>')
end
redis.call('ZADD', lanes, priority, priority)
return count
"""
)
_REST = (
    _COMMON
    + f"""
local jobs, delayed, records, workers, gone, traces, limit, meta = unpack(KEYS)
local events, beats, outbox = unpack(KEYS, 9)
for n = 1, {2 * LARGE} do
  local id, priority = 'd-' .. n, n % 11
  redis.call('HSET', records, id, '1:' .. priority .. ':0:0:0:0::::1000\\0' .. large)
  redis.call('ZADD', delayed, string.format('%.0f', priority * 1e13 + n), id)
  redis.call('HSET', jobs, id, 'd')
end
local running = string.rep('"0123456789012345678901234":1795568246193,', 20)
local about = '{{"slots":100,"host":"here","running":{{' .. running .. '"x":1}}}}'
for n = 1, {SMALL_DELAYED} do
  local id, priority = 'ds-' .. n, n % 11
  redis.call('HSET', records, id, '1:' .. priority .. ':0:0:0:0::::1000\\0' .. small)
  redis.call('ZADD', delayed, string.format('%.0f', priority * 1e13 + now + n), id)
  redis.call('HSET', jobs, id, 'd')
end
for n = 1, {WORKERS} do
  redis.call('HSET', workers, 'w' .. n, now .. ':' .. about)
  redis.call('HSET', beats, 'w' .. n, now .. ':100')
end
for n = 1, {DROPPED} do
  redis.call('RPUSH', gone, '1000 gone-' .. n)
  redis.call('HSET', traces, 'gone-' .. n, 'nonce|1000|5.1-0')
end
for n = 1, {GRANTS} do redis.call('RPUSH', limit, now .. ':1') end
redis.call('HSET', meta, 'max', {2 * GRANTS}, 'duration', 3600000, 'granted', {GRANTS}, 'due', 1)
local ids = string.rep('01234567890123456789012345 ', 50)
for n = 1, 200 do
  redis.call('XADD', outbox, '*', 'j', 'o-' .. n, 'h', header(5, 'C'), 'o', large)
end
for n = 1, 2500 do redis.call('XADD', events, '*', 'e', 'completed', 'i', ids) end
return 1
"""
)


@dataclass(frozen=True)
class Active:
    """One claim that a worker holds."""

    worker: str
    entry: bytes
    job_id: str


def fill(raw: Any) -> None:
    """Build it, in a few seconds and some 400 MB."""
    jobs = KEYS["jobs"]

    def ended(kind: str, name: str, count: int, heavy: int, flags: str, mark: str) -> None:
        keys = (KEYS[name], jobs, KEYS[f"expiry_{name}"])
        raw.eval(_ENDED, 3, *keys, kind, count, heavy, flags, mark)

    for kind, name, own in (("c", "completed", "A60000"), ("f", "dead", "X60000")):
        ended(kind, name, LARGE, LARGE, own, "own")
        ended(kind, name, EXPIRED // 2, LARGE, "", "old")
        ended(kind, name, LARGE, LARGE, "", "new")
    for lane in LANES:
        keys = (KEYS.lane(lane), jobs, KEYS["lanes"])
        if lane == ACTIVE_LANE:
            raw.eval(_LANE, 3, *keys, lane, ACTIVE, LARGE, WORKERS, "run")
        raw.eval(_LANE, 3, *keys, lane, LARGE, LARGE, 0, "wait")
    names = ("delayed", "delayed_jobs", "workers", "gone", "gone_jobs", "limit", "meta")
    raw.eval(_REST, 11, jobs, *(KEYS[name] for name in (*names, "events", "beats", "outbox")))


def active(raw: Any, count: int, offset: int = 0) -> list[Active]:
    """Claims of the active jobs, from the beginning of their lane."""
    lane = KEYS.lane(ACTIVE_LANE)
    found = raw.xpending_range(lane, "workers", "-", "+", offset + count)[offset:]
    jobs = {entry: record[b"j"] for entry, record in raw.xrange(lane, count=offset + count)}
    return [
        Active(one["consumer"].decode(), one["message_id"], jobs[one["message_id"]].decode())
        for one in found
    ]
