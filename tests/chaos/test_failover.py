"""A primary dies under load: Credstream finds the new one by itself, over TLS and with the ACLs."""

from contextlib import AbstractContextManager

import pytest
from failover import Deployment, cluster_3_3, sentinels
from failover_load import kill_under_load


@pytest.mark.parametrize("topology", [sentinels, cluster_3_3])
async def test_a_primary_that_dies_under_load(
    topology: type[AbstractContextManager[Deployment]],
) -> None:
    with topology() as deployment:
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
