"""How much a script does: a copy of it counts its commands and the bytes that go through them.

Counted, not timed: the figures are the same on every machine.
"""

from dataclasses import dataclass
from typing import Any

from script_faults import script_of

from streams.scripts import Command

PRELUDE = """
local COMMANDS, ROWS, READ, WRITTEN = 0, 0, 0, 0
local function SIZE(value)
  if type(value) == 'string' then return #value end
  if type(value) ~= 'table' then return 8 end
  local sum = 0
  for k = 1, #value do sum = sum + SIZE(value[k]) end
  return sum
end
local function MEASURED(how, ...)
  COMMANDS, WRITTEN = COMMANDS + 1, WRITTEN + SIZE({...})
  local reply = redis[how](...)
  if type(reply) == 'table' then ROWS = ROWS + #reply end
  READ = READ + SIZE(reply)
  return reply
end
local function MEASURED_CALL(...) return MEASURED('call', ...) end
local function MEASURED_PCALL(...) return MEASURED('pcall', ...) end
local function transition()
"""
EPILOGUE = """
end
local answer = transition()
return {answer[1], COMMANDS, ROWS, READ, WRITTEN, SIZE(ARGV)}
"""


@dataclass(frozen=True)
class Work:
    """What one call did. `rows`: items of lists that it read; the rest in bytes."""

    commands: int
    rows: int
    read: int
    written: int
    """In arguments of its commands."""
    taken: int
    """In its own arguments."""


def work(raw: Any, command: Command) -> Work:
    """Call a copy of a script that counts. AssertionError unless it answers one of its words."""
    script = script_of(command)
    shebang, _, body = script.source.decode().partition("\n")
    body = body.replace("redis.pcall", "MEASURED_PCALL").replace("redis.call", "MEASURED_CALL")
    word, *counted = raw.eval(shebang + PRELUDE + body + EPILOGUE, *command[2:])
    assert word in script.replies
    return Work(*counted)
