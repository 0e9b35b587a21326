"""The Lua files: their headers, the Python that calls them, and how they reach Redis."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from by_hand import Hand
from fault_proxy import FaultProxy, calls
from redis.exceptions import ResponseError
from redis_servers import Server

from schemas.job import State
from schemas.spec import QueueSpec
from streams import Queue, Redis, connect
from streams.claims import Ending
from streams.errors import LayoutError
from streams.keys import QueueKeys
from streams.scripts import BY_SHA, RECORDS, SCRIPTS, parse

ROOT = Path(__file__).parents[2]
LUA = ROOT / "streams" / "lua"
FILES = {path.stem: path for path in sorted(LUA.glob("*.lua"))}
TRANSITIONS = [name for name in FILES if not name.startswith("_")]
FRAGMENTS = {name[1:]: path.read_text() for name, path in FILES.items() if name.startswith("_")}
PROTOCOL = ROOT / "docs" / "protocol.md"
KEYS = QueueKeys("q")
SPEC = QueueSpec("scripts")
STATES = {"new", "any", "(gone)", "(orphaned)", *State}

ADDS = calls(SCRIPTS["add"].sha.decode())


def obeyed(reply: bytes) -> bool:
    """A reply of the script itself, not that Redis does not know it."""
    return reply.startswith(b"*")


def code(name: str) -> str:
    """A file without its comments."""
    lines = FILES[name].read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))


@pytest.mark.parametrize("name", TRANSITIONS)
def test_header(name: str) -> None:
    script = SCRIPTS[name]
    assert script.name == name
    assert script.summary
    assert script.before
    assert script.after
    assert {*script.before, *script.after} <= STATES
    assert len(KEYS.select(script.keys)) == len(set(KEYS.select(script.keys)))
    assert FILES[name].read_text().startswith("#!lua")
    assert BY_SHA[script.sha] is script


def test_every_file_is_a_script_or_a_fragment_of_one() -> None:
    assert {*TRANSITIONS, "forward"} == set(SCRIPTS)
    used = {
        word
        for path in LUA.rglob("*.lua")
        for line in path.read_text().splitlines()
        if line.startswith("-- uses:")
        for word in line.partition(":")[2].split()
    }
    assert used == set(FRAGMENTS)
    assert {path.stem for path in (LUA / "records").glob("*.lua")} == set(RECORDS)


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_a_fragment_has_no_comment_behind_code(name: str) -> None:
    """It becomes one line of the scripts that use it: the comment would swallow the rest."""
    for number, line in enumerate(FRAGMENTS[name].splitlines(), start=1):
        assert line.startswith("--") or "--" not in line, f"_{name}.lua:{number}: {line.strip()}"


@pytest.mark.parametrize("name", sorted({**SCRIPTS, **RECORDS}))
def test_redis_understands_it(raw: Any, name: str) -> None:
    script = {**SCRIPTS, **RECORDS}[name]
    assert raw.script_load(script.source) in (script.sha, script.sha.decode())


def test_every_script_is_used() -> None:
    words = {
        word
        for path in (ROOT / "streams").glob("*.py")
        for word in re.findall(r'"(\w+)"', path.read_text())
    }
    unused = {*SCRIPTS, *RECORDS} - words
    assert not unused, f"nobody calls {unused}"


def test_forward_is_add_that_works_in_a_full_redis() -> None:
    add, forward = SCRIPTS["add"].source.decode(), SCRIPTS["forward"].source.decode()
    assert forward == add.replace("#!lua\n", "#!lua flags=allow-oom\n", 1) != add


@pytest.mark.parametrize("name", TRANSITIONS)
def test_replies_are_the_words_that_the_source_answers(name: str) -> None:
    """A reply is a table that begins with a word: `return {'OK'`, `return told('OK'`, or `local
    reply = {'OK'`; the fragment `admit` answers `return 0, 'FULL'`."""
    text = code(name)
    said = set(re.findall(r"return (?:\{|told\()'([A-Z]+)'", text))
    said |= set(re.findall(r"local reply\b[^=]*= \{'([A-Z]+)'", text))
    if "admit(" in text:
        said |= set(re.findall(r"return 0, '([A-Z]+)'", FRAGMENTS["admit"]))
    assert said == {word.decode() for word in SCRIPTS[name].replies}


@pytest.mark.parametrize("name", TRANSITIONS)
def test_every_name_of_a_header_is_used(name: str) -> None:
    script = SCRIPTS[name]
    body = script.source.decode().split("\n", 1)[1]
    for word in (*script.keys, *script.args):
        if word in ("@lanes", "@rest"):
            assert re.search(r"KEYS\b", body)
        elif word not in {"before", "after"}:
            assert len(re.findall(rf"\b{word}\b", body)) > 1, f"{name} does not use {word}"


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_call_must_name_what_the_header_names(name: str) -> None:
    script = SCRIPTS[name]
    right: dict[str, Any] = dict.fromkeys(script.args, 1)
    command = script.command(KEYS, **right)
    selected = KEYS.select(script.keys)
    assert command[:3] == (b"EVALSHA", script.sha, len(selected))
    assert command[3 : 3 + len(selected)] == selected
    with pytest.raises(TypeError, match=name.replace("forward", "add")):
        script.command(KEYS, **right, surplus=1)
    for missing in script.args:
        with pytest.raises(TypeError):
            script.command(KEYS, **{k: v for k, v in right.items() if k != missing})
    if len(right) > 1:
        with pytest.raises(TypeError):
            script.command(KEYS, **dict(reversed(right.items())))
    if not script.rest:
        with pytest.raises(TypeError):
            script.command(KEYS, ["more"], **right)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_reply_must_begin_with_a_word_of_the_header(name: str) -> None:
    script = SCRIPTS[name]
    for word in script.replies:
        assert script.check([word, 1]) == [word, 1]
    for reply in ([b"NONSENSE"], b"OK", None, 1):
        with pytest.raises(TypeError, match="answered"):
            script.check(reply)


def test_a_header_that_lacks_a_field_is_refused() -> None:
    text = FILES["heartbeat"].read_text()
    for field in ("heartbeat", "from", "to", "keys", "args", "replies"):
        lines = [line for line in text.splitlines() if not line.startswith(f"-- {field}:")]
        with pytest.raises(KeyError, match=field):
            parse("heartbeat", "\n".join(lines), FRAGMENTS)


@pytest.mark.parametrize("name", TRANSITIONS)
def test_redis_names_the_line_of_the_file(raw: Any, name: str) -> None:
    """A deliberate error in front of the first statement is reported where the file has it."""
    text = FILES[name].read_text()
    lines = text.splitlines()
    assert len(SCRIPTS[name].source.splitlines()) == len(lines)
    at = next(n for n, line in enumerate(lines) if n and not line.startswith("--"))
    lines[at] = "local nothing = nil + 1 " + lines[at]
    script = parse(name, "\n".join(lines), FRAGMENTS)
    named: dict[str, Any] = dict.fromkeys(script.args, 1)
    command = script.command(KEYS, **named)
    with pytest.raises(ResponseError, match=rf"user_script:{at + 1}\b"):
        raw.execute_command("EVAL", script.source, *command[2:])


def test_a_wheel_has_every_lua_file(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = {n for n in packed.namelist() if n.endswith(".lua")}
        assert names == {str(path.relative_to(ROOT)) for path in LUA.rglob("*.lua")}
        for name in names:
            assert packed.read(name) == (ROOT / name).read_bytes()


def test_the_protocol_page_tells_the_same_transitions() -> None:
    """Rows `| `add` | new | waiting delayed | ... |`, one for every file."""
    if not PROTOCOL.exists():
        pytest.skip("docs/protocol.md is not there")
    rows = re.findall(
        r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|", _transitions(PROTOCOL.read_text()), re.MULTILINE
    )
    told = {name: (before.split(), after.split()) for name, before, after in rows}
    assert len(told) == len(rows)
    assert told == {n: (list(SCRIPTS[n].before), list(SCRIPTS[n].after)) for n in TRANSITIONS}


def _transitions(page: str) -> str:
    """The table whose head is `| script | from | to |`."""
    table = page[re.search(r"^\| script +\| from +\| to +\|", page, re.MULTILINE).start() :]  # type: ignore[union-attr]
    return table.partition("\n\n")[0]


async def test_scripts_that_redis_forgot_are_taught_again(redis: Redis, raw: Any) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    for n in range(3):
        raw.script_flush()
        added = await queue.add("work", {"n": n})
        raw.script_flush()
        claim = await hand.take_one()
        assert claim.job.id == added.id
        raw.script_flush()
        assert await hand.complete(claim) == ["OK"]
    raw.script_flush()
    assert (await queue.counts()).completed == 3


async def test_several_scripts_in_one_write_are_taught_together(redis: Redis, raw: Any) -> None:
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await queue.add("work", job_id="a")
    claim = await hand.take_one()
    await queue.add("work", job_id="b")
    link = await hand.claims.link()
    ((settle, _),) = hand.claims.settle([Ending(claim, "complete")])
    raw.script_flush()
    claimed, replies = await hand.claims.claim(link, 5, first=[settle])
    assert [c.job.id for c in claimed.claims] == ["b"]
    assert hand.claims.words(replies[0], 1) == ["OK"]


@pytest.mark.parametrize(("layout", "remedy"), [(1, "empty Redis"), (3, "update this program")])
async def test_another_layout_is_refused(redis: Redis, raw: Any, layout: int, remedy: str) -> None:
    queue = Queue(SPEC, redis)
    raw.hset(queue.store.keys["meta"], "layout", layout)
    for call in (queue.add("work"), queue.counts(), queue.get("x"), Hand(redis, SPEC).take()):
        with pytest.raises(
            LayoutError, match=f"layout {layout}; this version reads layout 2: .*{remedy}"
        ):
            await call
    assert raw.hgetall(queue.store.keys["meta"]) == {b"layout": str(layout).encode()}
    assert raw.exists(queue.store.keys["jobs"]) == 0


async def test_the_first_touch_writes_the_layout(redis: Redis, raw: Any) -> None:
    queue = Queue(SPEC, redis)
    await queue.counts()
    assert raw.hget(queue.store.keys["meta"], "layout") == b"2"


async def test_an_add_whose_reply_is_lost_makes_one_job(own_server: Server) -> None:
    async with FaultProxy(own_server.socket) as proxy:
        redis = connect(proxy.url)
        queue = Queue(SPEC, redis)
        fault = proxy.drop_reply(ADDS, obeyed)
        added = await queue.add("work", {"n": 1})
        assert fault.happened.is_set()
        assert (await queue.counts()).total == 1
        assert not added.deduplicated, "it is the job of this very call"
        job = await queue.get(added.id)
        assert job is not None
        assert job.data == {"n": 1}
        await redis.close()


async def test_an_add_whose_reply_is_lost_does_not_revive_a_job_that_has_ended_and_gone(
    own_server: Server,
) -> None:
    """The job ends between the two sends and leaves no trace but its nonce in `gone`."""
    direct = connect(own_server.url)
    queue, hand = Queue(SPEC, direct), Hand(direct, SPEC)
    async with FaultProxy(own_server.socket) as proxy:
        redis = connect(proxy.url)
        producer = Queue(SPEC, redis)
        fault = proxy.drop_reply(ADDS, obeyed)
        between = _between(redis, hand)
        added = await producer.add("work", job_id="once", remove_on_complete=True)
        assert fault.happened.is_set()
        assert between == ["OK"]
        assert added.id == "once"
        assert await queue.get("once") is None
        counts = await queue.counts()
        assert (counts.total, counts.waiting) == (0, 0)
        again = await producer.add("work", job_id="once", remove_on_complete=True)
        assert not again.deduplicated, "another add of the same id is a new job"
        assert (await queue.counts()).waiting == 1
        await redis.close()
    await direct.close()


def _between(redis: Redis, hand: Hand) -> list[str]:
    """The job is run to its end after the first send was lost, before the second."""
    words: list[str] = []
    usual = redis.unreachable

    async def unreachable() -> None:
        words.extend(await hand.complete(await hand.take_one()))
        await usual()

    redis.unreachable = unreachable  # type: ignore[method-assign]
    return words
