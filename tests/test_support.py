"""The test tools themselves: a tool that lies makes every test behind it worthless."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fault_proxy import FaultProxy, anything, calls
from processes import eventually
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis_cluster import SlotMove, cluster, move_slot, slot_of
from redis_sentinel import sentinel
from redis_servers import Server, redis7, valkey
from resp import message_end, words_of

SUPPORT = Path(__file__).parent / "support"
ACL = "user default off\nuser app on >secret ~cs:* +@all\n"


def client_of(proxy: FaultProxy) -> Any:
    """One that never tries again by itself."""
    return AsyncRedis(unix_socket_path=str(proxy.socket), retry=Retry(NoBackoff(), 0))


@pytest.mark.parametrize("make", [valkey, redis7])
def test_data_survives_a_killed_server_with_aof(make: Any) -> None:
    with make(appendfsync="always") as server, server.client() as client:
        client.set("a", "1")
        server.restart(crash=True)
        assert client.get("a") == b"1"


def test_a_server_without_aof_forgets() -> None:
    with valkey() as server:
        with server.client() as client:
            client.set("a", "1")
        server.restart()
        with server.client() as client:
            assert client.get("a") is None


def test_a_full_server_refuses_writes() -> None:
    with valkey(maxmemory="3mb") as server, server.client() as client:
        eventually(lambda: _refused(client), within_s=10, what="a write is refused")


def _refused(client: Any) -> bool:
    try:
        client.append("a", "x" * 100_000)
    except ResponseError as error:
        return "maxmemory" in str(error)
    return False


def test_acl_login() -> None:
    with valkey(acl=ACL, username="app", password="secret") as server, server.client() as client:
        client.set("cs:a", "1")
        with pytest.raises(ResponseError, match="permission"):
            client.set("other", "1")


def test_tls_with_a_certificate_of_its_own() -> None:
    with redis7(tls=True) as server:
        with Redis.from_url(server.url, ssl_ca_certs=str(server.ca)) as client:
            assert client.ping()
        with (
            Redis.from_url(server.url, retry=None) as stranger,
            pytest.raises(RedisConnectionError, match="certificate"),
        ):
            stranger.ping()


def test_a_frozen_server_answers_after_the_thaw() -> None:
    with valkey() as server, server.client(socket_timeout=0.2) as client:
        with server.frozen(), pytest.raises(RedisTimeoutError):
            client.ping()
        assert client.ping()


def test_a_server_dies_with_the_tests_even_when_they_are_killed() -> None:
    program = (
        "import time; from redis_servers import valkey\n"
        "with valkey() as server:\n    print(server.process.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        stdout=subprocess.PIPE,
    ) as tests:
        assert tests.stdout is not None
        server = int(tests.stdout.readline())
        tests.kill()
    eventually(lambda: not _alive(server), within_s=5, what="the server is gone")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_cluster_serves_all_slots_and_is_flushed() -> None:
    with cluster(3) as three, three.client() as client:
        for index in range(20):
            client.set(f"k{index}", "1")
        assert {three.owner(slot_of(f"k{index}")) for index in range(20)} == {0, 1, 2}
        three.flush()
        assert sum(three.ask(node, "DBSIZE") for node in range(3)) == 0


def test_a_slot_moves_in_steps() -> None:
    with cluster(3) as three, three.client() as client:
        keys = [f"{{tag}}{index}" for index in range(3)]
        for key in keys:
            client.set(key, "1")
        slot = slot_of("{tag}")
        source = three.owner(slot)
        to = (source + 1) % 3
        steps = []
        for left in move_slot(three, slot, to):
            steps.append(left)
            assert all(client.get(key) == b"1" for key in keys)
        assert steps == [3, 2, 1, 0, -1]
        assert three.owner(slot) == to


def test_a_half_moved_slot_answers_tryagain() -> None:
    with cluster(3) as three:
        slot = slot_of("{tag}")
        source = three.owner(slot)
        for name in ("{tag}a", "{tag}b"):
            three.ask(source, "SET", name, "1")
        move = SlotMove(three, slot, (source + 1) % 3)
        move.begin()
        move.move("{tag}a")
        assert move.keys() == [b"{tag}b"]
        with pytest.raises(ResponseError, match=r"TRYAGAIN|Multiple keys"):
            three.ask(source, "MGET", "{tag}a", "{tag}b")
        move.finish()
        assert three.ask(move.to, "MGET", "{tag}a", "{tag}b") == [b"1", b"1"]


def test_sentinels_promote_the_replica() -> None:
    with sentinel() as trio:
        assert trio.master_port() == trio.master.port
        trio.master.kill()
        eventually(
            lambda: trio.master_port() == trio.replica.port, within_s=15, what="a new master"
        )


@pytest.mark.parametrize(
    "message",
    [
        b"+OK\r\n",
        b":1\r\n",
        b"$3\r\na\r\n\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*2\r\n*1\r\n$1\r\na\r\n:2\r\n",
        b"%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n",
        b"|1\r\n+ttl\r\n:1\r\n$2\r\nok\r\n",
        b">2\r\n+x\r\n_\r\n",
    ],
)
def test_where_a_message_ends(message: bytes) -> None:
    assert message_end(message + b"+next\r\n") == len(message)
    assert all(message_end(message[:cut]) is None for cut in range(len(message)))


def test_words_of_a_request() -> None:
    assert words_of(b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n") == (b"GET", b"a\r\nb")


@pytest.fixture(scope="module")
def behind() -> Any:
    """A server for the proxy to stand in front of."""
    with valkey() as server:
        yield server


async def test_a_dropped_reply_has_been_obeyed(behind: Server) -> None:
    behind.flush()
    async with FaultProxy(behind.socket) as proxy, client_of(proxy) as client:
        fault = proxy.drop_reply(calls("INCR"))
        await client.set("other", "1")
        with pytest.raises(RedisConnectionError):
            await client.execute_command("INCR", "n")
        await asyncio.wait_for(fault.happened.wait(), 5)
        assert fault.words == (b"INCR", b"n")
        assert await client.execute_command("INCR", "n") == 2
        assert proxy.commands[b"INCR"] == 2


async def test_only_the_reply_of_its_request_is_dropped_from_a_pipeline(behind: Server) -> None:
    behind.flush()
    async with FaultProxy(behind.socket) as proxy:
        proxy.drop_reply(lambda words: words == (b"INCR", b"b"))
        reader, writer = await asyncio.open_unix_connection(str(proxy.socket))
        for key in (b"a", b"b", b"c"):
            writer.write(b"*2\r\n$4\r\nINCR\r\n$1\r\n%s\r\n" % key)
        assert await reader.read() == b":1\r\n"
        writer.close()
    with behind.client() as client:
        assert client.mget("a", "b", "c") == [b"1", b"1", b"1"]


async def test_a_reply_can_be_chosen_by_what_it_says(behind: Server) -> None:
    behind.flush()
    async with FaultProxy(behind.socket) as proxy, client_of(proxy) as client:
        fault = proxy.drop_reply(calls("INCR"), answer=lambda reply: reply == b":3\r\n")
        assert await client.execute_command("INCR", "n") == 1
        assert await client.execute_command("INCR", "n") == 2
        with pytest.raises(RedisConnectionError):
            await client.execute_command("INCR", "n")
        assert fault.happened.is_set()
        assert await client.execute_command("INCR", "n") == 4


async def test_a_lost_request_never_arrives(behind: Server) -> None:
    behind.flush()
    async with FaultProxy(behind.socket) as proxy, client_of(proxy) as client:
        fault = proxy.lose_request(calls("INCR"))
        with pytest.raises(RedisConnectionError):
            await client.execute_command("INCR", "n")
        assert fault.happened.is_set()
        assert await client.execute_command("INCR", "n") == 1


async def test_a_script_is_recognised_by_its_digest(behind: Server) -> None:
    async with FaultProxy(behind.socket) as proxy, client_of(proxy) as client:
        digest = await client.script_load("return 7")
        fault = proxy.drop_reply(calls(digest))
        with pytest.raises(RedisConnectionError):
            await client.evalsha(digest, 0)
        assert fault.happened.is_set()
        assert await client.evalsha(digest, 0) == 7
        assert proxy.commands[digest.encode()] == 2


async def test_a_held_reply_comes_when_released(behind: Server) -> None:
    async with FaultProxy(behind.socket) as proxy, client_of(proxy) as client:
        fault = proxy.hold_reply(calls("ECHO"))
        asked = asyncio.create_task(client.execute_command("ECHO", "hello"))
        await asyncio.wait_for(fault.happened.wait(), 5)
        assert not asked.done()
        fault.release()
        assert await asyncio.wait_for(asked, 5) == b"hello"


async def test_a_black_hole_until_healed(behind: Server) -> None:
    async with FaultProxy(behind.socket) as proxy, client_of(proxy) as client:
        await client.ping()
        swallowed = proxy.black_hole()
        asked = asyncio.create_task(client.ping())
        await asyncio.wait_for(swallowed.wait(), 5)
        assert not asked.done()
        proxy.heal()
        assert await asyncio.wait_for(asked, 5)


async def test_cut_and_refused_connections(behind: Server) -> None:
    async with FaultProxy(behind.socket) as proxy, client_of(proxy) as client:
        await client.ping()
        assert proxy.cut_all() == 1
        proxy.refuse()
        with pytest.raises(RedisConnectionError):
            await client.ping()
        proxy.heal()
        assert await client.ping()


async def test_a_redis_on_a_port() -> None:
    with valkey(tcp=True) as server:
        async with FaultProxy(("127.0.0.1", server.port)) as proxy, client_of(proxy) as client:
            proxy.drop_reply(anything)
            with pytest.raises(RedisConnectionError):
                await client.ping()
            assert await client.ping()


async def test_a_server_that_goes_away_cuts_its_clients() -> None:
    with valkey() as server:
        async with FaultProxy(server.socket) as proxy, client_of(proxy) as client:
            await client.ping()
            server.kill()
            with pytest.raises(RedisConnectionError):
                await client.ping()
