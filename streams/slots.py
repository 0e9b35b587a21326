"""Which node of a cluster serves a key."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio.cluster import ClusterNode, NodesManager, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY
from redis.crc import key_slot
from redis.exceptions import RedisClusterException, RedisError

from streams.errors import Unavailable
from streams.link import heeded
from streams.tls import TlsConnection

RENEW_S = 0.5
"""To ask costs a connection, with TLS a tenth of a second of work: no more often than this."""


class Slots:
    """The cluster's own account of that, asked for when first needed and again on `renew`. `hosts`
    are asked one after the other, each once."""

    def __init__(
        self, hosts: Sequence[tuple[str, int]], options: Mapping[str, Any], *, tls: bool
    ) -> None:
        self._hosts, self._tls = hosts, tls
        self._options = {**options, "retry": Retry(NoBackoff(), 0)}
        self._map: NodesManager | None = None
        self._asking = asyncio.Lock()
        self._asked_s = -math.inf

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
        slot, known = key_slot(key.encode()), await self.known()
        if not known.slots_cache.get(slot):
            await self.renew(known)
            known = await self.known()
        if not (found := known.slots_cache.get(slot)):
            raise Unavailable("no cluster node serves the slot of this queue")
        return found[0]

    async def primaries(self) -> list[ClusterNode]:
        """Every node that serves keys. Raises Unavailable."""
        return (await self.known()).get_nodes_by_server_type(PRIMARY)

    async def renew(self, doubted: NodesManager) -> None:
        """Ask again, unless somebody has just done so or has since `doubted` was known. Until the
        answer comes others go by the old one: a node that is gone holds up nobody who does not
        need it. Raises Unavailable."""
        async with self._asking:
            now_s = asyncio.get_running_loop().time()
            if self._map is not doubted or now_s < self._asked_s + RENEW_S:
                return
            self._asked_s = now_s
            self._map = await self._discover()
        await _close(doubted)

    async def close(self) -> None:
        """Forget everything. May be used again."""
        async with self._asking:
            known, self._map, self._asked_s = self._map, None, -math.inf
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
        if self._tls:
            found.connection_kwargs["connection_class"] = TlsConnection
            for node in found.startup_nodes.values():
                node.connection_class = TlsConnection
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
