"""Which node of a cluster serves a key."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode, NodesManager, RedisCluster
from redis.cluster import PRIMARY
from redis.crc import key_slot
from redis.exceptions import RedisClusterException, RedisError

from streams.errors import Unavailable
from streams.link import heeded


class Slots:
    """The cluster's own account of that: asked for when first needed, and again on `forget` or
    `renew`. `hosts` are asked one after the other."""

    def __init__(
        self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any], *, tls: bool
    ) -> None:
        self._hosts, self._options, self._tls = hosts, options, tls
        self._map: NodesManager | None = None
        self._asking = asyncio.Lock()

    async def known(self) -> NodesManager:
        """The account as it is known. Raises Unavailable when no host tells it."""
        if self._map is not None:
            return self._map
        async with self._asking:
            if self._map is None:
                self._map = await self._discover()
            return self._map

    async def node(self, key: str) -> ClusterNode:
        """Who serves `key`. Raises Unavailable."""
        found = (await self.known()).slots_cache.get(key_slot(key.encode()))
        if not found:
            await self.forget()
            raise Unavailable("no cluster node serves the slot of this queue")
        return found[0]

    async def primaries(self) -> list[ClusterNode]:
        """Every node that serves keys. Raises Unavailable."""
        return (await self.known()).get_nodes_by_server_type(PRIMARY)

    async def renew(self, doubted: NodesManager) -> None:
        """Ask again, unless somebody has done so since `doubted` was known. Until the answer comes
        others go by the old one: a node that is gone holds up nobody who does not need it."""
        async with self._asking:
            if self._map is not doubted:
                return
            self._map = await self._discover()
        await _close(doubted)

    async def forget(self) -> None:
        """The next one asks anew."""
        async with self._asking:
            known, self._map = self._map, None
        if known:
            await _close(known)

    async def _discover(self) -> NodesManager:
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port, **self._options) for host, port in self._hosts],
            ssl=self._tls,
            **self._options,
        )
        # Its own `initialize` also asks a primary of its choice for something we do not use, and
        # fails where that one is gone.
        found: NodesManager = cluster.nodes_manager
        try:
            await heeded(found.initialize())
        except BaseException as error:
            await _close(found)
            if not isinstance(error, RedisError | RedisClusterException | OSError):
                raise
            raise Unavailable(f"Redis Cluster cannot be reached: {error}") from error
        return found


async def _close(known: NodesManager) -> None:
    await known.aclose()
    await known.aclose("startup_nodes")
