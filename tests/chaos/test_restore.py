"""The drill of docs/backup.md: a credential outlives the server that its data lay on."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from processes import eventually
from redis_servers import Server, valkey

from tests.credstream.conftest import ROOT, ups

__all__ = ["ups"]
ORG = {"organizationId": "org-1", "userId": "user-1"}


def cli(server: Server, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "credstream", *words],
        cwd=ROOT, env={**os.environ, "REDIS_URL": server.url, **env},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def backed_up(server: Server, to: Path) -> None:
    """BGSAVE, and the file in a place that outlives the server."""
    with server.client() as client:
        before = client.lastsave()
        while client.lastsave() == before:  # whole seconds
            client.bgsave()
            eventually(lambda: not client.info("persistence")["rdb_bgsave_in_progress"],
                       within_s=10, what="the file")  # fmt: skip
            time.sleep(0.2)
    shutil.copy(server.dir / "dump.rdb", to)


def issued(up: Any, issuer: str) -> Any:
    data = {
        "issuerDid": issuer, "subjectDid": issuer, "credentialType": "DegreeCredential",
        "claims": {"degree": "BSc"}, "status": ["revocation"], **ORG,
    }  # fmt: skip
    job = up.ended(up.call("POST", "/queue/vc-issuance/jobs", {"data": data}), "vc-issuance")
    assert job["state"] == "completed", job
    return job["returnvalue"]


def status(up: Any, credential: Any) -> Any:
    return up.call("GET", f"/credentials/{quote(credential['credentialId'], safe='')}/status")


def verdict(up: Any, credential: Any) -> Any:
    data = {"vcJwt": credential["vcJwt"], **ORG}
    job = up.ended(
        up.call("POST", "/queue/vc-verification/jobs", {"data": data}), "vc-verification"
    )
    return job["returnvalue"]


@pytest.mark.timeout(240)
def test_a_restored_redis_issues_verifies_and_revokes(ups: Any, tmp_path: Path) -> None:
    ring = {
        "CREDSTREAM_KEKS": f"k1:{'A' * 43}=",
        "CREDSTREAM_WEBHOOK_KEKS": f"k1:{'B' * 42}A=",
        "PUBLIC_URL": "https://credentials.example.org",
    }
    saved = tmp_path / "backup.rdb"
    with valkey(appendfsync="always") as lost:
        up = ups("--data-dir", tmp_path / "one", "--redis-url", lost.url, **ring)
        up.wait_ready()
        create = {"operation": "create", "didMethod": "key", **ORG}
        job = up.ended(up.call("POST", "/queue/did-operations/jobs", {"data": create}),
                       "did-operations")  # fmt: skip
        issuer = job["returnvalue"]["did"]
        credential = issued(up, issuer)
        backed_up(lost, saved)
        late = issued(up, issuer)
        assert up.stop() == 0

    with valkey(extra=("--appendonly", "no")) as restored:
        restored.stop()
        shutil.copy(saved, restored.dir / "dump.rdb")
        restored.start()
        with restored.client() as client:
            client.config_set("appendonly", "yes")
            eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"]
                       and not client.info("persistence")["aof_rewrite_scheduled"],
                       within_s=20, what="the append-only file")  # fmt: skip
        recovered = cli(restored, "recover")
        assert recovered.returncode == 0, recovered.stderr
        assert "1 status lists take no more credentials" in recovered.stdout
        assert "0 status lists" in cli(restored, "recover").stdout
        without = cli(restored, "doctor", CREDSTREAM_KEKS=f"k2:{'B' * 42}A=")
        assert without.returncode == 1
        assert "sealed under issuer/k1" in without.stdout

        up = ups("--data-dir", tmp_path / "two", "--redis-url", restored.url, **ring)
        up.wait_ready()
        assert verdict(up, credential)["valid"]
        fresh = issued(up, issuer)
        lists = [
            status(up, one)["entries"][0]["statusListCredential"] for one in (credential, fresh)
        ]
        assert lists[0] != lists[1]
        with pytest.raises(OSError, match="404"):
            status(up, late)
        path = f"/credentials/{quote(credential['credentialId'], safe='')}/revoke"
        assert up.call("POST", path, {"reason": "drill"})["revoked"]
        eventually(lambda: not verdict(up, credential)["valid"], within_s=30, what="revoked")
        assert verdict(up, fresh)["valid"]
        assert up.stop() == 0
