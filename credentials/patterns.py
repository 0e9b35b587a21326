"""Regular expressions from strangers, matched in linear time (J2).

They run in the engine of pydantic, which never backtracks and therefore knows no lookaround and no
backreferences. What remains to be bounded is their size once counted repetitions are written out.
"""

import re
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_STATES = 5_000
MAX_PATTERN_CHARS = 1_000
MAX_TEXT_CHARS = 4_096

_TOKEN = re.compile(
    r"\\[pP]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\??|\)|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL
)
_WIDE = re.compile(r"\\[wWdDsSpPbB]|\[|\.")
_WIDE_STATES = 30
"""What a class of Unicode characters comes to, roughly."""


class PatternRefused(Exception):
    """This expression, or this text, is not matched here; the message says why."""


def searches(pattern: str, text: str, max_chars: int | None = MAX_TEXT_CHARS) -> bool:
    """Whether `pattern` occurs in `text`. Raises PatternRefused."""
    if max_chars is not None and len(text) > max_chars:
        raise PatternRefused(f"patterns are matched against {max_chars} characters at most")
    return _compiled(pattern).isinstance_python(text)


@lru_cache(maxsize=1_024)
def states(pattern: str) -> int:
    """About how many states `pattern` has: what matching one character may cost."""
    # Each level is [sum of the items so far, the last item, which a repetition multiplies].
    levels = [[0, 0]]
    for token in _TOKEN.finditer(pattern):
        text, top = token[0], levels[-1]
        if text.startswith("("):
            levels.append([0, 0])
        elif text == ")" and len(levels) > 1:
            inner = sum(levels.pop())
            levels[-1] = [sum(levels[-1]), inner]
        elif token[1]:
            top[1] *= max(int(token[1][:6]), int((token[2] or "0")[:6]), 1)
        else:
            levels[-1] = [sum(top), _WIDE_STATES if _WIDE.match(text) else 1]
    return sum(map(sum, levels))


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> SchemaValidator:
    if len(pattern) > MAX_PATTERN_CHARS or states(pattern) > MAX_STATES:
        raise PatternRefused("a pattern is too long")
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))
    except SchemaError:
        raise PatternRefused(
            "a pattern is not one of those understood here: no lookaround, no backreferences"
        ) from None
