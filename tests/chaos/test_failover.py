"""A primary dies under load: Credstream finds the new one by itself, over TLS and with the ACLs."""

from contextlib import AbstractContextManager
from typing import Any

import pytest
from failover import Deployment, cluster_3_3, sentinels
from failover_load import kill_under_load

import streams
from streams import Queue, RedisSettings
from streams.errors import NotDurable
from streams.examination import examine


@pytest.mark.parametrize("topology", [sentinels, cluster_3_3])
async def test_a_primary_that_dies_under_load(
    topology: type[AbstractContextManager[Deployment]],
) -> None:
    with topology() as deployment:
        await replicas_are_waited_for(deployment)
        outcome = await kill_under_load(deployment)
        assert deployment.refused() == []
    done = outcome.completed
    assert set(done.values()) == {1}
    assert set(done) <= set(outcome.acknowledged)
    # What was acknowledged after the failover is there; what only the dead primary had is not.
    assert set(outcome.acknowledged[-400 + 20 :]) <= set(done)
    assert outcome.refused > 0
    # Whoever is in `completed` has been handled; again when the first end of it was lost.
    assert set(done) <= set(outcome.handled)


async def replicas_are_waited_for(deployment: Deployment) -> None:
    """REL-2: `replicated`, where Sentinel or Cluster say who has the replicas."""
    files: dict[str, Any] = {
        name.removeprefix("REDIS_").lower(): value for name, value in deployment.files().items()
    }
    redis = streams.connect(
        RedisSettings(
            url=deployment.url, durability="replicated", durability_wait_ms=1_000, **files
        )
    )
    queue = Queue("copies", redis)
    jobs = "cs:{copies}:jobs"
    heir = deployment.heir_of(deployment.primary_of(jobs))
    added = await queue.add("work", {})
    with heir.client(single_connection_client=True) as copy:
        if len(deployment.primaries) > 1:
            copy.execute_command("READONLY")
        assert copy.hexists(jobs, added.id)
    with heir.frozen(), pytest.raises(NotDurable, match="0 replicas"):
        await queue.add("work", {})
    # The replica is there, and the doctor says what its servers are not told to keep.
    checks = await examine(redis)
    assert {check.name for check in checks if check.word == "fail"} <= {"fsync", "split brain"}
    slots = [check.says for check in checks if check.name == "slots"]
    primaries = len(deployment.primaries)
    assert slots == ["16384 of 16384 slots are served."] * (primaries if primaries > 1 else 0)
    await redis.close()
    # It may not look at CONFIG and was refused, which is in order.
    for server in (*deployment.primaries, *deployment.replicas):
        with server.client() as client:
            client.execute_command("ACL", "LOG", "RESET")
