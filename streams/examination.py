"""What `credstream doctor` looks at in a Redis: each thing in one word, and what to do about it."""

import time

from redis.exceptions import ResponseError

from streams import keys
from streams.connection import Redis
from streams.durability import judged
from streams.link import Link
from streams.node import Check, Node, copies, fields, memory, nodes

ROUNDS = 20
SLOW_S = 0.005
CLOCK_S = 1.0
SLOTS = "16384"
_NEEDED = (
    *(
        ("XADD", "cs:probe", "*", "a", "b"),
        ("XREADGROUP", "GROUP", "g", "c", "STREAMS", "cs:x", ">"),
    ),
    *(("EVALSHA", "0" * 40, "1", "cs:probe"), ("SCRIPT", "LOAD", "return 1")),
    *(("BZPOPMIN", "cs:probe", "1"), ("CLIENT", "ID"), ("CLIENT", "UNBLOCK", "1")),
)


async def examine(redis: Redis) -> list[Check]:
    """Every check, of every primary. Raises Unavailable."""
    await redis.ping()
    found = await nodes(redis)
    checks = judged(found, redis.settings)
    for node, link in zip(found, await redis.everywhere(), strict=True):
        checks += [memory(node), copies(node), *await _cluster(node, link)]
        checks += [await _scripts(link), await _clock_and_latency(link), await _permissions(link)]
    return checks


async def _cluster(node: Node, link: Link) -> list[Check]:
    if node.info.get("cluster_enabled") != "1":
        return []
    (reply,) = await link.send((b"CLUSTER", b"INFO"))
    if isinstance(reply, ResponseError):
        says, fix = "CLUSTER INFO is not allowed.", "Allow +cluster|info in the ACL."
        return [Check("slots", "warn", says, fix)]
    told = fields(reply)
    says = f"{told.get('cluster_slots_ok')} of {SLOTS} slots are served."
    if told.get("cluster_state") == "ok" and told.get("cluster_slots_ok") == SLOTS:
        return [Check("slots", "ok", says)]
    return [Check("slots", "fail", says, "Repair the cluster: redis-cli --cluster fix.")]


async def _scripts(link: Link) -> Check:
    # As our scripts are run: EVAL itself need not be allowed.
    (reply,) = await link.send((b"SCRIPT", b"LOAD", b"return redis.call('TIME')[1]"))
    if not isinstance(reply, ResponseError):
        (reply,) = await link.send((b"EVALSHA", reply, 0))
    if isinstance(reply, ResponseError):
        return Check("scripts", "fail", "Scripts are refused.", "Allow EVALSHA and SCRIPT LOAD.")
    return Check("scripts", "ok", "Scripts run.")


async def _clock_and_latency(link: Link) -> Check:
    took, offset = [], 0.0
    for _ in range(ROUNDS):
        began, wall = time.monotonic(), time.time()
        (reply,) = await link.send((b"TIME",))
        took.append(time.monotonic() - began)
        if not isinstance(reply, ResponseError):
            offset = int(reply[0]) + int(reply[1]) / 1e6 - wall - took[-1] / 2
    median = sorted(took)[ROUNDS // 2]
    says = f"A round trip takes {median * 1000:.2f} ms; its clock differs by {offset:+.3f} s."
    if abs(offset) > CLOCK_S:
        return Check("clock", "warn", says, "Let both machines follow NTP.")
    if median > SLOW_S:
        return Check("latency", "warn", says, "Run Redis near the workers.")
    return Check("latency", "ok", says)


async def _permissions(link: Link) -> Check:
    (who,) = await link.send((b"ACL", b"WHOAMI"))
    if isinstance(who, ResponseError):
        says = "ACL is not available here: permissions were not looked at."
        return Check("permissions", "warn", says, "Compare with the ACL file that we ship.")
    dry = [(b"ACL", b"DRYRUN", who, *command) for command in _NEEDED]
    replies = await link.send(*dry)
    if any(isinstance(reply, ResponseError) for reply in replies):
        says = f"User {who.decode()} may not ask for permissions (ACL DRYRUN)."
        return Check("permissions", "warn", says, "Compare with the ACL file that we ship.")
    refused = [
        command[0] for command, reply in zip(_NEEDED, replies, strict=True) if reply != b"OK"
    ]
    if refused:
        says = f"User {who.decode()} may not: {', '.join(refused)}."
        return Check("permissions", "fail", says, f"Allow them for ~{keys.PROBE[:3]}* in its ACL.")
    return Check("permissions", "ok", f"User {who.decode()} may do what is needed.")
