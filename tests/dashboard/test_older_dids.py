"""DIDs that were hosted before organizations had lists of theirs."""

import asyncio

import back_office as office
import pytest

from gateway.app import create_app
from gateway.dashboard.dids import listing
from gateway.settings import GatewaySettings
from streams import Redis, dids, keys

ORG = office.ORG


pytestmark = pytest.mark.usefixtures("ring")


async def test_dids_older_than_their_list_come_into_it(redis: Redis) -> None:
    made = [await office.host_did(redis, ORG, f"issuers/{n}") for n in range(3)]
    made.append(await office.tombstone(redis, ORG, "issuers/old"))
    await redis.command("DEL", keys.hosted(ORG), key=keys.hosted(ORG))
    assert await dids.listed(redis, ORG) == ([], False)
    app = create_app(redis, GatewaySettings(port=0))
    living = listing(app)
    await anext(living)
    await until_listed(redis)
    found, _ = await dids.listed(redis, ORG)
    assert {one.did for one in found} == set(made)
    assert not await dids.write_down_old(redis), "once is enough"
    with pytest.raises(StopAsyncIteration):
        await anext(living)


async def until_listed(redis: Redis) -> None:
    async with asyncio.timeout(10):
        while not await redis.command("EXISTS", keys.DIDS_LISTED, key=keys.DIDS_LISTED):
            await asyncio.sleep(0)
