"""A transition under the microscope: which calls it makes, and what it leaves when one fails.

A copy of a script is sent with EVAL. In the copy `redis.call` and `redis.pcall` count, write down
what they are asked, and raise at the k-th call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from streams.keys import QueueKeys
from streams.scripts import BY_SHA, Command, Script

FAULT = "fault injected"
PRELUDE = """
local TRACE, STOP = {}, %d
local function watched(how, ...)
  local call = {how, 'ok', ...}
  TRACE[#TRACE + 1] = call
  if #TRACE == STOP then error('%s') end
  local reply = redis[how](...)
  if type(reply) == 'table' then
    if reply.err then call[2] = 'error' elseif #reply == 0 then call[2] = 'empty' end
  end
  return reply
end
local function watched_call(...) return watched('call', ...) end
local function watched_pcall(...) return watched('pcall', ...) end
local function transition()
"""
EPILOGUE = """
end
local answer = transition()
return {TRACE, answer}
"""
READS = {
    *("TIME", "XLEN", "XRANGE", "XREVRANGE", "XPENDING", "XINFO"),
    *("HGET", "HMGET", "HGETALL", "HVALS", "HLEN", "HEXISTS", "HSTRLEN"),
    *("ZRANGEBYLEX", "ZLEXCOUNT"),
    *("ZCARD", "ZRANGE", "ZRANGEBYSCORE", "ZSCORE", "ZCOUNT", "LLEN", "LRANGE"),
    *("GET", "GETBIT", "SCARD", "EXISTS"),
}
"""Every other command counts as a write."""
TYPES = {"X": "stream", "H": "hash", "Z": "zset", "L": "list", "R": "list"}
"""What a command's first letter says about its key."""


@dataclass(frozen=True)
class Value:
    """What a key holds. `dump` (for RESTORE) says it all: type, value, groups, pending; but a
    hash or a set comes in any order, so of those the members are compared."""

    content: Any
    dump: bytes = field(compare=False)


State = dict[bytes, Value]


@dataclass(frozen=True)
class Call:
    """One call of a script. `how`: call (an error ends the script) or pcall (it goes on);
    `outcome`: ok, error or empty (a list with nothing in it)."""

    how: str
    outcome: str
    name: str
    args: tuple[bytes, ...]
    key: bytes | None

    @property
    def writes(self) -> bool:
        return self.name not in READS

    @property
    def type(self) -> str | None:
        """The type its key must have; None: any."""
        return TYPES.get(self.name[0])

    def __str__(self) -> str:
        return " ".join([self.name, *(arg.decode(errors="replace") for arg in self.args)])


@dataclass(frozen=True)
class Run:
    """What a watched script did."""

    calls: list[Call]
    reply: Any

    @property
    def first_write(self) -> int:
        """Its place among the calls, from 0; the number of calls when nothing is written."""
        return next((n for n, call in enumerate(self.calls) if call.writes), len(self.calls))


def script_of(command: Command) -> Script:
    """The script that an EVALSHA names."""
    return BY_SHA[command[1]]  # type: ignore[index]


def keys_of(command: Command) -> tuple[bytes, ...]:
    """The keys that a call declares."""
    return tuple(command[3 : 3 + int(command[2])])  # type: ignore[arg-type]


def watched(source: bytes, stop_at: int = 0) -> str:
    """A copy of a script that answers {calls, reply}; its call number `stop_at` (from 1) raises."""
    shebang, _, body = source.decode().partition("\n")
    assert shebang.startswith("#!lua")
    body = body.replace("redis.pcall", "watched_pcall").replace("redis.call", "watched_call")
    return shebang + PRELUDE % (stop_at, FAULT) + body + EPILOGUE


def run(raw: Any, command: Command, stop_at: int = 0) -> Run:
    """Send the watched copy. ResponseError with FAULT in it when it reached `stop_at`."""
    source = watched(script_of(command).source, stop_at)
    trace, reply = raw.execute_command("EVAL", source, *command[2:])
    return Run([_call(words, set(keys_of(command))) for words in trace], reply)


def _call(words: list[Any], declared: set[bytes]) -> Call:
    how, outcome, name, *args = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    key = next((arg for arg in args if arg in declared), None)
    assert key is not None or name == b"TIME", f"{name!r} {args} is on no declared key"
    return Call(how.decode(), outcome.decode(), name.decode(), tuple(args), key)


def assert_cannot_fail(trace: Run) -> None:
    """Decide, then write: from the first write on, every call that would end the script on an
    error is on a key of which an earlier call has proved that it has the right type. The groups
    that it names have been seen. (Redis being full is no reason: `allow-oom`.)"""
    proved: dict[bytes, str] = {}
    grouped: set[bytes] = set()
    for n, call in enumerate(trace.calls):
        later = n > trace.first_write
        if later and call.how == "call" and call.type is not None and call.key is not None:
            assert proved.get(call.key) == call.type, f"call {n + 1} may fail after a write: {call}"
            if call.name in {"XGROUP", "XPENDING"} or b"CONSUMERS" in call.args:
                assert call.key in grouped, f"call {n + 1} may find no group: {call}"
        if call.key is not None and call.type is not None and call.outcome != "error":
            proved[call.key] = call.type
            if call.name == "XPENDING" or (call.name == "XINFO" and call.outcome == "ok"):
                grouped.add(call.key)


def state(raw: Any, keys: QueueKeys) -> State:
    """Every key of the queue."""
    names = sorted(raw.scan_iter(match=f"{keys.prefix}*".encode()))
    return {name: _value(raw, name) for name in names}


def _value(raw: Any, name: bytes) -> Value:
    dump, read = raw.dump(name), {b"hash": raw.hgetall, b"set": raw.smembers}.get(raw.type(name))
    return Value(read(name) if read else dump, dump)


def restore(raw: Any, keys: QueueKeys, saved: State) -> None:
    """Put the queue back as it was."""
    for name in raw.scan_iter(match=f"{keys.prefix}*".encode()):
        if name not in saved:
            raw.delete(name)
    for name, value in saved.items():
        raw.restore(name, 0, value.dump, replace=True)


def changed(before: State, after: State) -> set[bytes]:
    """The keys that differ."""
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def attempt(raw: Any, command: Command) -> list[Any] | ResponseError:
    """The reply of the script itself, or the error it ended with."""
    script = script_of(command)
    try:
        reply = raw.execute_command("EVAL", script.source, *command[2:])
    except ResponseError as error:
        return error
    return script.check(reply)


def ids_in(raw: Any, keys: QueueKeys, streams: Sequence[bytes]) -> set[bytes]:
    """The jobs whose records lie in these streams or wait for their time."""
    found = set(raw.hkeys(keys["delayed_jobs"]))
    for stream in streams:
        found |= {fields[b"j"] for _, fields in raw.xrange(stream)}
    return found
