"""`credstream up`, end to end: it starts, works, stops in order, and leaves nothing running."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from processes import eventually

from credstream.process import is_alive

NEW_DID = {
    "name": "create-did",
    "data": {
        "operation": "create",
        "didMethod": "key",
        "organizationId": "org-123",
        "userId": "user-456",
    },
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def gone(pid: int) -> bool:
    return not is_alive(pid)


def test_sigterm_stops_everything_with_exit_0_and_the_data_is_there_again(
    ups: Any, data_dir: Path
) -> None:
    up = ups("--data-dir", data_dir)
    up.wait_ready()
    job = up.ended(up.call("POST", "/queue/did-operations/jobs", NEW_DID), "did-operations")
    assert job["state"] == "completed"
    children = up.children()
    assert set(children) == {"valkey", "worker", "gateway"}
    assert up.stop() == 0
    assert all(gone(pid) for pid in children.values())
    for line in ("Credstream is up.", f"http://localhost:{up.port}", str(data_dir), "Stopped."):
        assert line in up.said()

    again = ups("--data-dir", data_dir)
    again.wait_ready()
    same = again.call("GET", f"/queue/did-operations/job/{job['id']}")
    assert same["returnvalue"] == job["returnvalue"]
    assert again.stop() == 0


def test_a_data_directory_with_an_awkward_name(ups: Any, tmp_path: Path) -> None:
    up = ups("--data-dir", tmp_path / "my data, 100% mine?#1")
    up.wait_ready()
    job = up.ended(up.call("POST", "/queue/did-operations/jobs", NEW_DID), "did-operations")
    assert job["state"] == "completed"
    assert up.stop() == 0


def test_ctrl_c_is_an_orderly_end(ups: Any, data_dir: Path) -> None:
    up = ups("--data-dir", data_dir)
    up.wait_ready()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert "Traceback" not in up.said()


def test_kill_9_of_the_parent_leaves_no_process_and_loses_nothing(ups: Any, data_dir: Path) -> None:
    up = ups("--data-dir", data_dir)
    up.wait_ready()
    job = up.call("POST", "/queue/did-operations/jobs", NEW_DID)
    children = up.children()
    assert len(children) == 3
    up.process.kill()
    up.process.wait()
    for name, pid in children.items():
        eventually(lambda pid=pid: gone(pid), within_s=20, what=f"the {name} is gone")

    again = ups("--data-dir", data_dir)
    again.wait_ready()
    assert again.ended(job, "did-operations")["state"] == "completed"


@pytest.mark.parametrize("victim", ["valkey", "worker", "gateway"])
def test_a_child_that_dies_is_started_again(ups: Any, data_dir: Path, victim: str) -> None:
    up = ups("--data-dir", data_dir)
    up.wait_ready()
    before = up.children()
    os.kill(before[victim], signal.SIGKILL)
    eventually(
        lambda: up.children().get(victim, before[victim]) != before[victim],
        within_s=20,
        what="another one",
    )
    up.wait_ready()
    job = up.ended(up.call("POST", "/queue/did-operations/jobs", NEW_DID), "did-operations")
    assert job["state"] == "completed"
    assert "(signal SIGKILL); starting it again in 0.5 s." in up.said()
    assert up.stop() == 0


def test_two_on_one_data_directory(ups: Any, data_dir: Path) -> None:
    first = ups("--data-dir", data_dir)
    first.wait_ready()
    second = ups("--data-dir", data_dir)
    assert second.process.wait(60) == 1
    assert f"in use by another credstream (process {first.process.pid})" in second.said()
    assert "Traceback" not in second.said()
    assert first.is_ready()


def test_two_on_one_port(ups: Any, tmp_path: Path) -> None:
    first = ups("--data-dir", tmp_path / "one")
    first.wait_ready()
    second = ups("--data-dir", tmp_path / "two", "--port", str(first.port))
    assert second.process.wait(60) == 1
    assert f"Port {first.port} is taken" in second.said()


def test_a_redis_of_ones_own(ups: Any, redis_url: str, tmp_path: Path) -> None:
    up = ups("--data-dir", tmp_path / "data", "--redis-url", redis_url)
    up.wait_ready()
    assert set(up.children()) == {"worker", "gateway"}
    job = up.ended(up.call("POST", "/queue/did-operations/jobs", NEW_DID), "did-operations")
    assert job["state"] == "completed"
    assert up.stop() == 0


def test_a_stop_during_the_start(ups: Any, data_dir: Path) -> None:
    up = ups("--data-dir", data_dir)
    lock = data_dir / "credstream.lock"
    eventually(lambda: lock.exists() and lock.read_text(), within_s=30, what="it has begun")
    assert up.stop() == 0
    assert "Traceback" not in up.said()


def test_a_child_that_cannot_run_as_set_up_ends_it_all(ups: Any, data_dir: Path) -> None:
    up = ups("--data-dir", data_dir, APP_ENV="production")
    assert up.process.wait(60) == 1
    assert "No key-encryption key: set CREDSTREAM_KEKS" in up.said()
    assert "The worker cannot run as it is set up" in up.said()
    assert "Traceback" not in up.said()
