"""The transitions: reads `lua/*.lua`, binds the names of their headers, checks every call.

A file's header says what the script is: `from`, `to` (states), `keys`, `args` (the last may be
`name...`, the index of the first of the rest), `replies` (words), `uses` (fragments `_name.lua`).
The bindings are put in place of the header's comment lines, so the line numbers in an error of
Redis are those of the file.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from streams.keys import LANES, Keys

Argument = bytes | str | int | float
Command = tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """One transition. `sha` names it in Redis by its content: old and new pods can coexist."""

    name: str
    summary: str
    source: bytes
    sha: bytes
    before: tuple[str, ...]
    after: tuple[str, ...]
    keys: tuple[str, ...]
    args: tuple[str, ...]
    rest: bool
    replies: frozenset[bytes]

    def command(self, keys: Keys, rest: Sequence[Argument] = (), **named: Argument) -> Command:
        """The EVALSHA of a call. TypeError when names differ from the header's."""
        if tuple(named) != self.args or (rest and not self.rest):
            raise TypeError(f"{self.name} takes {self.args}, not {tuple(named)}")
        selected = keys.select(self.keys)
        return (b"EVALSHA", self.sha, len(selected), *selected, *named.values(), *rest)

    def check(self, reply: Any) -> list[Any]:
        """The reply, if its first word is one the header declares."""
        if not isinstance(reply, list) or reply[0] not in self.replies:
            raise TypeError(f"{self.name} answered {reply!r}")
        return reply


def _fields(source: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in source.splitlines():
        if line.startswith("-- "):
            key, colon, value = line[3:].partition(":")
            if colon and key.isidentifier():
                fields.setdefault(key, value.strip())
    return fields


def _bindings(names: list[str], table: str, first: int = 1) -> str:
    slots: list[str] = []
    plain: list[str] = []
    at = first
    for name in names:
        if name == "@lanes":
            at += len(LANES)
        elif name == "@rest":
            break
        elif name.endswith("..."):
            plain.append(name[:-3])
            slots.append(str(at))
        else:
            plain.append(name)
            slots.append(f"{table}[{at}]")
            at += 1
    return f"local {','.join(plain)} = {','.join(slots)}" if plain else ""


def _one_line(fragment: str) -> str:
    lines = (line for line in fragment.splitlines() if not line.startswith("--"))
    return " ".join(line.strip() for line in lines)


def parse(name: str, source: str, fragments: Mapping[str, str]) -> Script:
    """A script from its file's text. KeyError names a missing header field or fragment."""
    header = _fields(source)
    keys, args = header["keys"].split(), header["args"].split()
    used = " ".join(_one_line(fragments[u]) for u in header.get("uses", "").split())
    lines = source.splitlines()
    for index, line in enumerate(lines):
        if line.startswith("-- keys:"):
            lines[index] = _bindings(keys, "KEYS")
        elif line.startswith("-- args:"):
            lines[index] = _bindings(args, "ARGV")
        elif line.startswith("-- replies:"):
            lines[index] = used
    text = "\n".join(lines).encode()
    return Script(
        name=name,
        summary=header[name],
        source=text,
        sha=hashlib.sha1(text, usedforsecurity=False).hexdigest().encode(),
        before=tuple(header["from"].split()),
        after=tuple(header["to"].split()),
        keys=tuple(keys),
        args=tuple(a for a in args if not a.endswith("...")),
        rest=bool(args and args[-1].endswith("...")),
        replies=frozenset(word.encode() for word in header["replies"].split()),
    )


def _texts(*folders: str) -> dict[str, str]:
    """File name without `.lua` -> text, of every script in a folder below this package."""
    folder = resources.files("streams").joinpath(*folders)
    return {
        file.name[:-4]: file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".lua")
    }


def _load(texts: Mapping[str, str], fragments: Mapping[str, str]) -> dict[str, Script]:
    return {n: parse(n, t, fragments) for n, t in texts.items() if not n.startswith("_")}


def _transitions(texts: Mapping[str, str], fragments: Mapping[str, str]) -> dict[str, Script]:
    scripts = _load(texts, fragments)
    # A callback must reach its queue also when Redis is full: the job it reports has ended.
    always = texts["add"].replace("#!lua\n", "#!lua flags=allow-oom\n", 1)
    scripts["forward"] = parse("add", always, fragments)
    return scripts


_QUEUE_TEXTS = _texts("lua")
_FRAGMENTS = {name[1:]: text for name, text in _QUEUE_TEXTS.items() if name.startswith("_")}
SCRIPTS: Mapping[str, Script] = _transitions(_QUEUE_TEXTS, _FRAGMENTS)
"""The transitions of a queue's jobs."""
RECORDS: Mapping[str, Script] = _load(_texts("lua", "records"), _FRAGMENTS)
"""Changes of what is not a job: DIDs, keys, status lists, destinations."""
BY_SHA: Mapping[bytes, Script] = {s.sha: s for s in (*SCRIPTS.values(), *RECORDS.values())}
