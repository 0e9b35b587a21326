"""The files in deploy/redis: what they allow is enough, and nothing more; passwords and
certificates change while everything runs."""

import asyncio
from pathlib import Path

import pytest
import redis_tls
from by_hand import Hand
from manifests import DEPLOY
from processes import free_ports, until
from producer import adds
from pydantic import SecretStr
from redis.exceptions import AuthenticationError, NoPermissionError
from redis_secured import CA_VARIABLE, USER, Secured, password_of, secured, users
from redis_servers import redis7

from consumers import Worker
from consumers.processor import Reject
from consumers.upkeep import QueueUpkeep
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue, RedisSettings, connect
from streams.deletion import delete, unlist
from streams.endings import Gate
from streams.errors import Refused, Unavailable
from streams.parking import Parking
from streams.upkeep_index import UpkeepIndex

SPEC = QueueSpec("main-path", lease_ms=2_000)


def settings(server: Secured, password: Path) -> RedisSettings:
    """As a pod has them: no secret in the URL."""
    url = f"rediss://{USER}@localhost:{server.server.port}"
    return RedisSettings(url=SecretStr(url), password_file=password, tls_ca_file=server.server.ca)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(password_of(USER) + "\n")
    return file


async def fails_once_rejects_or_completes(job: Job) -> str:
    if job.data["what"] == "reject":
        raise Reject("no")
    if job.data["what"] == "fail" and job.attempts_made == 0:
        raise RuntimeError("once more")
    return "done"


async def test_the_main_path_needs_no_more_than_the_acl_grants(password: Path) -> None:
    """Add, delay, claim, complete, retry, reject, page, events, pause, revive, remove, clean."""
    with secured() as server:
        redis = connect(settings(server, password))
        queue = Queue(SPEC, redis)
        jobs = [
            NewJob(
                name="x",
                data={"what": what},
                options=JobOptions(job_id=what, delay=delay, backoff={"type": "fixed", "delay": 1}),
            )
            for what, delay in (("complete", 0), ("fail", 0), ("reject", 0), ("later", 50))
        ]
        await queue.pause()
        await queue.add_many(jobs)
        await queue.resume()
        async with Worker(SPEC, fails_once_rejects_or_completes, redis=redis):

            async def ended() -> bool:
                counts = await queue.counts()
                return (counts.completed, counts.failed) == (3, 1)

            await until(ended, within_s=20, what="every job has ended")
            assert [job.id for job in await queue.page(State.FAILED, 0, 10)] == ["reject"]
            await queue.revive("reject")
            await until(ended, within_s=20, what="it has failed again")
        await queue.remove("complete")
        await queue.clean(0, State.FAILED)
        await queue.drain(with_delayed=True)
        counts = await queue.counts()
        assert (counts.completed, counts.failed) == (2, 0)
        await unlist(redis, queue.name)
        await delete(queue)
        await redis.close()
        assert server.refused() == []


def test_nothing_else_is_allowed(password: Path) -> None:
    with secured() as server:
        login = {"username": USER, "password": password_of(USER)}
        with server.server.client(**login) as client:
            for words in (
                ("FLUSHALL",),
                ("CONFIG", "GET", "*"),
                ("CONFIG", "SET", "maxmemory", "1"),
                ("KEYS", "*"),
                ("GET", "somebody:else"),
                ("SET", "somebody:else", "1"),
                ("SUBSCRIBE", "x"),
                ("PUBLISH", "x", "y"),
                ("SHUTDOWN",),
                ("MONITOR",),
                ("ACL", "LIST"),
                ("CLIENT", "LIST"),
                ("CLIENT", "KILL", "ID", "1"),
                ("REPLICAOF", "NO", "ONE"),
                ("EVAL", "return redis.call('GET', 'somebody:else')", "0"),
            ):
                with pytest.raises(NoPermissionError):
                    client.execute_command(*words)


def test_nobody_gets_in_with_the_file_as_it_ships() -> None:
    shipped = (DEPLOY / "redis" / "users.acl").read_text()
    text = "\n".join(line for line in shipped.splitlines() if line.startswith("user "))
    assert text.count(" resetpass ") == text.count("user ")
    assert ">" not in text
    with redis7(acl=text + "\nuser admin on >admin allkeys +@all\n", username="admin",
                password="admin") as server:  # fmt: skip
        for login in ({"username": None, "password": None}, {"username": USER, "password": ""}):
            with server.client(**login) as client, pytest.raises(
                (AuthenticationError, NoPermissionError)
            ):  # fmt: skip
                client.ping()


async def test_a_password_changes_while_everything_runs(password: Path) -> None:
    """Both are valid, the file changes, the old one goes: nobody restarts (D12)."""
    with secured() as server:
        redis = connect(settings(server, password))
        queue = Queue(SPEC, redis)
        await queue.add("x", {})
        reload(server, users(**{USER: "the second"}))
        password.write_text("the second\n")
        hang_up(server)
        await until(lambda: adds(queue), within_s=10, what="it logs in with the new one")
        only = users().replace(_hash(password_of(USER)), _hash("the second"))
        reload(server, only)
        hang_up(server)
        await until(lambda: adds(queue), within_s=10, what="it still does")
        assert (await queue.counts()).waiting == 3
        await redis.close()


async def test_a_certificate_changes_while_everything_runs(
    password: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes a certificate of a new authority; the client's file names both (D11)."""
    monkeypatch.delenv(CA_VARIABLE, raising=False)
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    redis_tls.certify(redis_tls.authority(old), old)
    redis_tls.certify(redis_tls.authority(new), new)
    trusted = tmp_path / "ca.crt"
    trusted.write_bytes((old / "ca.pem").read_bytes())
    (port,) = free_ports(1)
    extra = ("--tls-port", str(port), *redis_tls.words(old))
    acl = {"acl": users(), "username": "admin", "password": "admin"}
    with redis7(extra=extra, **acl) as server:
        url = f"rediss://{USER}@localhost:{port}"
        redis = connect(
            RedisSettings(url=SecretStr(url), password_file=password, tls_ca_file=trusted)
        )
        queue = Queue(SPEC, redis)
        await queue.add("x", {})
        trusted.write_bytes((old / "ca.pem").read_bytes() + (new / "ca.pem").read_bytes())
        with server.client() as client:
            client.config_set(
                "tls-cert-file",
                str(new / "redis.crt"),
                "tls-key-file",
                str(new / "redis.key"),
                "tls-ca-cert-file",
                str(new / "ca.pem"),
            )
        hang_up(Secured(server))
        await until(lambda: adds(queue), within_s=10, what="it trusts the new one")
        # The old authority alone is not enough any more: the new certificate is in use.
        trusted.write_bytes((old / "ca.pem").read_bytes())
        hang_up(Secured(server))
        with pytest.raises(Unavailable):
            await asyncio.wait_for(queue.add("x", {}), 10)
        await redis.close()


async def test_the_authorities_given_are_trusted_and_the_systems_are_not(
    password: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_tls.authority(tmp_path)
    with secured() as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.server.ca))
        other = settings(server, password).model_copy(update={"tls_ca_file": tmp_path / "ca.pem"})
        systems = other.model_copy(update={"tls_ca_file": None})
        assert await may_add(systems)
        assert not await may_add(other)


async def test_a_server_that_wants_a_certificate_gets_ours(password: Path, tmp_path: Path) -> None:
    ca = redis_tls.authority(tmp_path)
    with secured() as server:
        with server.server.client() as client:
            client.config_set(
                "tls-auth-clients", "yes", "tls-ca-cert-file", str(tmp_path / "ca.pem")
            )
        without = settings(server, password)
        cert, key = redis_tls.certify(ca, tmp_path, "client")
        having = without.model_copy(update={"tls_cert_file": cert, "tls_key_file": key})
        assert not await may_add(without)
        assert await may_add(having)


async def may_add(given: RedisSettings) -> bool:
    redis = connect(given)
    try:
        return await adds(Queue(SPEC, redis))
    finally:
        await redis.close()


def reload(server: Secured, acl: str) -> None:
    """The ACL file changes and is read again."""
    (server.server.dir / "users.acl").write_text(acl)
    with server.client() as client:
        client.execute_command("ACL", "LOAD")


def hang_up(server: Secured) -> None:
    """Every connection of Credstream ends."""
    with server.client() as client:
        client.execute_command("CLIENT", "KILL", "USER", USER)


def _hash(password: str) -> str:
    import hashlib

    return "#" + hashlib.sha256(password.encode()).hexdigest()


def test_the_settings_that_ship_are_taken(tmp_path: Path) -> None:
    """Redis starts with deploy/redis/redis.conf, its paths replaced."""
    ca = redis_tls.authority(tmp_path)
    redis_tls.certify(ca, tmp_path, "tls")
    (tmp_path / "users.acl").write_text(users())
    text = (DEPLOY / "redis" / "redis.conf").read_text()
    (port,) = free_ports(1)
    for old, new in (
        ("/etc/redis/users.acl", "users.acl"),
        ("/etc/redis/tls/ca.crt", "ca.pem"),
        ("/etc/redis/tls/tls", "tls"),
    ):
        text = text.replace(old, str(tmp_path / new))
    text = text.replace("tls-port 6379", f"tls-port {port}")
    file = tmp_path / "redis.conf"
    file.write_text(text)
    wanted = {"maxmemory-policy": "noeviction", "appendonly": "yes", "tls-port": str(port)}
    with (
        redis7(extra=("--include", str(file)), username="admin", password="admin") as server,
        server.client(decode_responses=True) as client,
    ):
        assert client.config_get(*wanted) == wanted


async def test_each_role_is_a_user_that_may_do_its_part_and_no_more() -> None:
    """The gateway cannot change a sealed private key, the scheduler sees no session and no key."""
    spec = QueueSpec("roles", lease_ms=2_000)
    with secured() as server:
        worker, gateway, scheduler = (
            connect(server.url_of(user)) for user in (USER, f"{USER}-gateway", f"{USER}-scheduler")
        )
        vault, session = "cs:vault:{did:key:z}", "cs:session:{x}"
        await worker.command("HSET", vault, "org", "a", key=vault)
        await worker.command("SET", session, "{}", key=session)
        later = JobOptions(job_id="later", delay=1)
        await Queue(spec, gateway).add("x", {}, later)
        await Queue(spec, gateway).add("x", {}, JobOptions(callback_url="https://example.com/"))

        troubles = list[Exception]()

        async def promoted() -> bool:
            while await QueueUpkeep(spec, scheduler, troubles.append).turn(1, 1) == 0:
                pass
            return (await Queue(spec, gateway).counts()).waiting == 2

        await until(promoted, within_s=10, what="the scheduler promoted it")
        index = UpkeepIndex(scheduler)
        await UpkeepIndex(worker).announce(spec)
        await index.enter("emails")
        assert (await index.turn({}, 10, 0)).queues.keys() == {"roles", "emails"}
        hand, gate = Hand(worker, spec), Gate("ab" * 16, 0)
        await hand.retry(*await hand.take(), delay_ms=60_000, gate=gate)
        for redis in (worker, gateway):  # a worker looks at a gate, a gateway has it looked at
            await Parking(redis, spec.name).look_soon(gate.name)
            await Parking(redis, spec.name).place(gate.name, "later", "1", 1)
        assert (await Parking(worker, spec.name).due()).gates == [(gate.name, 2)]
        assert await Parking(worker, spec.name).release(gate.name, 2, 0) == (2, False)
        await UpkeepIndex(gateway).hasten(spec.name)
        await unlist(gateway, spec.name)
        assert troubles == []
        assert await gateway.command("HGET", vault, "org", key=vault) == b"a"
        assert server.refused() == []
        refused = [
            (gateway, "HSET", vault, "org", "b"),
            (gateway, "DEL", vault),
            (scheduler, "HGET", vault, "org"),
            (scheduler, "GET", session),
            (scheduler, "HGETALL", "cs:keys:{keys}:id:a"),
            (scheduler, "HGETALL", "cs:mail:{links}:secret"),
        ]
        for redis, *words in refused:
            with pytest.raises(Refused):
                await redis.command(*words, key=words[1])
        for redis in (worker, gateway, scheduler):
            await redis.close()
