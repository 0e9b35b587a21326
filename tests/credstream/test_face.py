"""The public Python face: everything promised is there, and is loaded only when used."""

import subprocess
import sys

import pytest

import credstream
import streams
from credstream import QueueName, queue_manager
from schemas.spec import catalog


def test_every_public_name_is_there() -> None:
    for name in credstream.__all__:
        assert getattr(credstream, name) is not None
    assert dir(credstream) == sorted(credstream.__all__)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Broker'"):
        credstream.Broker  # noqa: B018


def test_names_are_those_of_the_catalogue() -> None:
    assert set(QueueName) == set(catalog())


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, credstream; print('aiohttp' in sys.modules, 'redis' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.split() == ["False", "False"]


async def test_queue_manager_uses_the_environment_and_one_connection(
    redis: streams.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    queue = queue_manager.get_queue(QueueName.WEBHOOKS)
    other = queue_manager.get_queue("custom-queue")
    try:
        assert queue.redis is other.redis
        job = await other.add("greet", {"name": "Ada"})
        assert await streams.Queue("custom-queue", redis).get(job.id) is not None
    finally:
        await queue_manager.close()
    assert queue_manager.get_queue("custom-queue").redis is not other.redis
    await queue_manager.close()
