"""What `credstream doctor` looks at in a Redis: each thing in one word, and what to do about it."""

import time

from redis.exceptions import ResponseError

from streams import keys
from streams.connection import Redis
from streams.durability import Check, Node, fields, judged, nodes
from streams.link import Link

OLDEST = (6, 2)
ROUNDS = 20
SLOW_S = 0.005
CLOCK_S = 1.0
ROOM = 0.8
"""Of maxmemory: above this there is too little head-room."""
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
        checks += [_version(node), _memory(node), _copies(node), *await _cluster(node, link)]
        checks += [await _scripts(link), await _clock_and_latency(link), await _permissions(link)]
    return checks


def _version(node: Node) -> Check:
    known = node.info.get("valkey_version") or node.info.get("redis_version", "0.0")
    number = tuple(int(part) for part in known.split(".")[:2])
    if number >= OLDEST:
        return Check("version", "ok", f"Version {known}.")
    return Check("version", "fail", f"Version {known} is too old.", "Update to 6.2 or newer.")


def _memory(node: Node) -> Check:
    used, most = int(node.info.get("used_memory", 0)), int(node.info.get("maxmemory", 0))
    if most == 0:
        fix = "Set maxmemory to 60-70 % of what the machine or container has."
        return Check("memory", "warn", "maxmemory is not set: the kernel may kill Redis.", fix)
    share = used / most
    says = f"{share:.0%} of maxmemory is used."
    if share < ROOM:
        return Check("memory", "ok", says)
    return Check("memory", "fail", says, "Raise maxmemory, or keep ended jobs for less long.")


def _copies(node: Node) -> Check:
    if node.info.get("role") != "master":
        fix = "Connect to the primary, or use a redis+sentinel:// or redis+cluster:// address."
        return Check("role", "fail", "This node is a replica and takes no writes.", fix)
    failed = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if node.info.get(name, "ok") != "ok"
    ]
    if failed:
        says = f"{', '.join(failed)}: the last attempt to write to disk failed."
        return Check("disk", "fail", says, "Look at the log of Redis: full disk or permissions?")
    return Check("role", "ok", f"Primary with {node.info.get('connected_slaves', '0')} replicas.")


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
    (reply,) = await link.send((b"EVAL", b"return redis.call('TIME')[1]", 0))
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
