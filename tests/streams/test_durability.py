"""The durability levels: what Redis must be set to, and what a submission waits for (REL-2)."""

import pytest
from processes import eventually
from redis_servers import Server, redis7

import streams
from streams import NewJob, Queue
from streams.durability import NotKept, insist, judged, standing
from streams.errors import NotDurable
from streams.node import Node
from streams.settings import RedisSettings

GOOD = {
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "always",
    "min-replicas-to-write": "1",
}
INFO = {
    "redis_version": "7.0.15",
    "redis_mode": "standalone",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "connected_slaves": "1",
}


def settings(server: Server | None = None, **values: object) -> RedisSettings:
    """Settings of a process that is not told to start whatever it finds."""
    url = {"url": server.url} if server else {}
    return RedisSettings(**{"durability_force": False, **url, **values})


def words(node: Node, level: str) -> dict[str, str]:
    found = judged([node], settings(durability=level))
    assert all(check.fix for check in found if check.word != "ok")
    return {check.name: check.word for check in found if check.word != "ok"}


@pytest.mark.parametrize(
    ("change", "level", "wrong"),
    [
        ({}, "standard", {}),
        ({}, "strict", {}),
        ({}, "replicated", {}),
        ({"appendfsync": "everysec"}, "standard", {}),
        ({"appendfsync": "everysec"}, "strict", {"fsync": "fail"}),
        ({"appendfsync": "no"}, "standard", {"fsync": "fail"}),
        ({"appendonly": "no"}, "standard", {"append-only file": "fail"}),
        ({"maxmemory-policy": "allkeys-lru"}, "standard", {"eviction": "fail"}),
        ({"min-replicas-to-write": "0"}, "replicated", {"split brain": "fail"}),
        ({"min-replicas-to-write": "0"}, "strict", {}),
    ],
)
def test_what_each_level_asks_for(
    change: dict[str, str], level: str, wrong: dict[str, str]
) -> None:
    assert words(Node(INFO, GOOD | change), level) == wrong


def test_what_no_level_can_do_without() -> None:
    assert words(Node(INFO | {"redis_version": "6.2.14"}, GOOD), "standard") == {"version": "fail"}
    newer = INFO | {"redis_version": "7.2.4", "valkey_version": "9.1.2"}
    assert words(Node(newer, GOOD), "standard") == {}
    assert words(Node(INFO | {"redis_mode": "cluster"}, GOOD), "standard") == {"mode": "fail"}


def test_replicas_are_counted() -> None:
    lonely = Node(INFO | {"connected_slaves": "0"}, GOOD)
    assert words(lonely, "replicated") == {"replicas": "fail"}


def test_where_config_is_forbidden_what_cannot_be_seen_is_a_warning() -> None:
    managed = Node(INFO | {"aof_enabled": "0"}, None)
    assert words(managed, "standard") == {"append-only file": "warn", "fsync": "warn"}
    evicting = Node(INFO | {"maxmemory_policy": "volatile-lru"}, None)
    assert words(evicting, "standard")["eviction"] == "fail"


async def test_a_redis_that_loses_jobs_is_refused_unless_forced(own_server: Server) -> None:
    redis = streams.connect(settings(own_server))
    found = await insist(redis)
    assert found is not None
    assert found.met
    with own_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(NotKept, match="maxmemory-policy noeviction"):
        await insist(redis)
    forced = streams.connect(settings(own_server, durability_force=True))
    standing_now = await insist(forced)
    assert standing_now is not None
    assert not standing_now.met
    assert "allkeys-lru" in str(standing_now.told()["troubles"])
    for one in (redis, forced):
        await one.close()


async def test_nobody_is_refused_while_redis_is_away(own_server: Server) -> None:
    own_server.stop()
    redis = streams.connect(settings(own_server))
    assert await insist(redis) is None
    await redis.close()


async def test_config_that_is_forbidden_is_noticed() -> None:
    acl = "user default on nopass ~* &* +@all -config\nuser root on >p ~* &* +@all\n"
    with redis7(acl=acl, appendfsync="everysec") as server:
        redis = streams.connect(settings(server))
        found = await standing(redis)
        assert found.met
        assert {check.name: check.word for check in found.checks}["fsync"] == "warn"
        await redis.close()


async def test_a_submission_is_answered_when_replicas_have_it_else_refused() -> None:
    with redis7(tcp=True, appendfsync="always") as primary:
        options = ("--replicaof", "127.0.0.1", str(primary.port))
        with redis7(tcp=True, appendfsync="always", extra=options) as replica:
            wanted = settings(primary, durability="replicated", durability_wait_ms=500)
            redis = streams.connect(wanted)
            queue = Queue("chaos", redis)
            with primary.client() as client, replica.client() as copy:
                eventually(
                    lambda: copy.info()["master_link_status"] == "up", within_s=20, what="a copy"
                )
                added = await queue.add("work", {})
                assert copy.hexists("cs:{chaos}:jobs", added.id)
                with replica.frozen(), pytest.raises(NotDurable, match="0 replicas"):
                    await queue.add("work", {}, job_id="late")
                # It is stored: the same again adds nothing, and is answered once it is copied.
                again = await queue.add("work", {}, job_id="late")
                assert again.deduplicated
                assert copy.hexists("cs:{chaos}:jobs", ":late")
                assert client.xlen("cs:{chaos}:p5") == 2
            await redis.close()


async def test_one_submission_of_many_waits_as_well(own_server: Server) -> None:
    redis = streams.connect(settings(own_server, durability="replicated", durability_wait_ms=1))
    with pytest.raises(NotDurable):
        await Queue("chaos", redis).add_many([NewJob("work", {})] * 3)
    await redis.close()


async def test_without_the_level_nobody_waits(own_server: Server) -> None:
    redis = streams.connect(settings(own_server, durability="strict"))
    await Queue("chaos", redis).add("work", {})
    with own_server.client() as client:
        assert "cmdstat_wait" not in client.info("commandstats")
    await redis.close()
