"""The command line: what it prints, its exit codes, and that errors are sentences."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from credstream.cli import main


def call(*words: str, stdin: str | None = None, **env: str) -> Result:
    result = CliRunner().invoke(main, words, input=stdin, env=env)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class TestUsage:
    """Exit code 2, and what is wrong."""

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (["submit"], "Missing argument 'QUEUE'"),
            (["submit", "q", "--data", "{"], "this is not JSON"),
            (["submit", "q", "--data", "[1]"], "must be a JSON object"),
            (["submit", "q", "--data", "@/no/such/file"], "/no/such/file cannot be read: No such"),
            (["submit", "q", "--option", "priority"], "not of the form name=value"),
            (["up", "--port", "0"], "0 is not in the range"),
            (["worker", "--processes", "0"], "0 is not in the range"),
            (["gateway", "--port", "0", "--processes", "2"], "--port 0 names none"),
            (["up", "--host", "0.0.0.0"], "ALLOW_INSECURE"),
            (["nonsense"], "No such command"),
        ],
    )
    def test_options(self, words: list[str], told: str) -> None:
        result = call(*words)
        assert result.exit_code == 2
        assert told in result.output

    def test_nobody_serves_a_network_without_credentials(self, redis_url: str) -> None:
        """Only a Redis that answers can tell that there are none."""
        result = call("gateway", "--host", "0.0.0.0", REDIS_URL=redis_url)
        assert result.exit_code == 2
        assert "ALLOW_INSECURE" in result.output

    @pytest.mark.parametrize(
        ("command", "env", "told"),
        [
            ("gateway", {"PORT": "many"}, "PORT: must be a whole number"),
            ("up", {"PORT": "70000"}, "PORT: must be at most"),
            ("worker", {"QUEUE_CONCURRENCY": "0"}, "QUEUE_CONCURRENCY: must be at least"),
            ("worker", {"REDIS_URL": "http://somewhere"}, "REDIS_URL must begin with one of"),
            ("gateway", {"REDIS_URL": "http://somewhere"}, "REDIS_URL must begin with one of"),
            ("up", {"REDIS_URL": "http://somewhere"}, "REDIS_URL must begin with one of"),
        ],
    )
    def test_settings(self, command: str, env: dict[str, str], told: str) -> None:
        result = call(command, **env)
        assert result.exit_code == 2
        assert told in result.output

    @pytest.mark.parametrize("command", ["up", "gateway", "worker", "submit", "stats", "version"])
    def test_help(self, command: str) -> None:
        assert call(command, "--help").exit_code == 0


class TestNobodyThere:
    """Exit code 3."""

    def test_no_gateway(self, nobody: str) -> None:
        for words in (["submit", "emails"], ["stats"]):
            result = call(*words, "--url", nobody)
            assert result.exit_code == 3
            assert f"There is no gateway at {nobody}" in result.output
            assert "credstream up" in result.output

    @pytest.mark.parametrize("url", ["localhost:3000", "ftp://localhost", "http://", "nonsense"])
    def test_not_an_address(self, url: str) -> None:
        result = call("stats", CREDSTREAM_URL=url)
        assert result.exit_code == 3
        assert "--url or CREDSTREAM_URL" in result.output

    def test_no_redis(self, nobody: str) -> None:
        result = call("up", "--redis-url", nobody.replace("http", "redis"))
        assert result.exit_code == 3
        assert "Redis is not available" in result.output


def test_version() -> None:
    from credstream import __version__

    assert f"credstream {__version__}" in call("version").output
    assert f"credstream {__version__}" in call("--version").output
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'version = "{__version__}"' in project


class TestWithAGateway:
    """`submit` and `stats` against a real one."""

    def submit(self, url: str, *words: str, stdin: str | None = None) -> tuple[int, Any, str]:
        result = call("submit", *words, "--url", url, stdin=stdin)
        answer = json.loads(result.stdout) if result.stdout.startswith("{") else None
        return result.exit_code, answer, result.stderr

    DATA = '{"operation": "create", "didMethod": "key", "organizationId": "o", "userId": "u"}'

    def test_accepted(self, up_url: str) -> None:
        code, answer, _ = self.submit(up_url, "did-operations", "--data", self.DATA)
        assert code == 0
        assert answer["state"] == "waiting"

    def test_wait(self, up_url: str) -> None:
        words = ("did-operations", "--name", "create-did", "--data", self.DATA, "--wait")
        code, job, _ = self.submit(up_url, *words)
        assert code == 0
        assert job["name"] == "create-did"
        assert job["returnvalue"]["did"].startswith("did:key:z6Mk")

    def test_data_from_a_file_and_from_stdin(self, up_url: str, tmp_path: Path) -> None:
        file = tmp_path / "job.json"
        file.write_text(self.DATA)
        assert self.submit(up_url, "did-operations", "--data", f"@{file}")[0] == 0
        assert self.submit(up_url, "did-operations", "--data", "-", stdin=self.DATA)[0] == 0

    def test_options_reach_the_job(self, up_url: str) -> None:
        options = (
            "-o",
            "delay=600000",
            "-o",
            'backoff={"type":"fixed","delay":7}',
            "-o",
            "jobId=x/y?z",
        )
        code, answer, _ = self.submit(up_url, "did-operations", "--data", self.DATA, *options)
        assert code == 0
        assert answer["state"] == "delayed"
        assert answer["id"] == "x/y?z"

    def test_refused_with_every_reason(self, up_url: str) -> None:
        words = ("did-operations", "--data", '{"operation": "steal"}', "-o", "priority=11")
        code, answer, told = self.submit(up_url, *words)
        assert code == 1
        assert answer is None
        assert "/data/operation" in told
        assert "/options/priority" in told

    def test_unknown_queue(self, up_url: str) -> None:
        code, _, told = self.submit(up_url, "no-such-queue")
        assert code == 1
        assert "no such queue" in told.lower()

    def test_wait_for_a_job_that_fails(self, up_url: str) -> None:
        data = {
            "issuerDid": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
            "subjectDid": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
            "credentialType": "UniversityDegreeCredential",
            "claims": {"degree": "None"},
            "organizationId": "o",
            "userId": "u",
        }
        words = ("vc-issuance", "--data", json.dumps(data), "-o", "attempts=1", "--wait")
        code, job, _ = self.submit(up_url, *words)
        assert code == 1
        assert job["state"] == "failed"

    def test_stats(self, up_url: str) -> None:
        table = call("stats", "--url", up_url)
        assert table.exit_code == 0
        assert "did-operations" in table.output
        rows = json.loads(call("stats", "--json", "--url", up_url).stdout)
        assert {row["name"] for row in rows} >= {"did-operations", "vc-issuance"}


class TestQueue:
    """What is done to whole queues."""

    def test_limits(self, up_url: str) -> None:
        words = ("queue", "limits", "vc-verification", "--url", up_url)
        unlimited = {
            "name": "vc-verification",
            "limiter": None,
            "concurrency": None,
            "backlog": None,
        }
        assert json.loads(call(*words).stdout) == unlimited
        given = json.loads(call(*words, "--backlog", "1000", "--concurrency", "7").stdout)
        assert (given["backlog"], given["concurrency"]) == (1_000, 7)
        assert json.loads(call(*words, "--concurrency", "none").stdout)["backlog"] == 1_000
        assert json.loads(call(*words, "--backlog", "none").stdout) == unlimited
        wrong = call(*words, "--backlog", "0")
        assert wrong.exit_code == 2
        assert "neither a number above 0 nor `none`" in wrong.output

    def test_drain(self, up_url: str) -> None:
        words = ("--data", TestWithAGateway.DATA, "-o", "delay=600000", "--url", up_url)
        assert call("submit", "did-operations", *words).exit_code == 0
        drain = ("queue", "drain", "did-operations", "--url", up_url)
        assert call(*drain, stdin="n\n").exit_code == 1
        assert "Removed 0 jobs" in call(*drain, "--yes").output
        told = call(*drain, "--delayed", "--yes").output
        assert "of queue did-operations" in told
        assert "Removed 0 jobs" not in told

    def test_delete(self, up_url: str) -> None:
        for name, why in [("emails", "part of the product"), ("no-such", "no-such")]:
            told = call("queue", "delete", name, "--yes", "--url", up_url)
            assert told.exit_code == 1
            assert why in told.output
