"""The command lines people know from the BullMQ system, as they are, against `credstream up`."""

import json
import shlex
import shutil
import subprocess
import urllib.request
from typing import Any

import pytest
from processes import eventually

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

SEED = """
curl http://localhost:3000/queue/stats
curl http://localhost:3000/queue/vc-issuance/stats
curl "http://localhost:3000/queue/vc-issuance/jobs?status=failed"
curl "http://localhost:3000/queue/vc-issuance/jobs?status=failed&start=0&end=10"
curl http://localhost:3000/queue/vc-issuance/job/12345
curl -X POST http://localhost:3000/queue/vc-issuance/job/12345/retry
curl -X DELETE http://localhost:3000/queue/vc-issuance/job/12345
curl -X POST http://localhost:3000/queue/vc-issuance/pause
curl -X POST http://localhost:3000/queue/vc-issuance/resume
curl -X POST http://localhost:3000/queue/vc-issuance/clean \\
  -H "Content-Type: application/json" \\
  -d '{"grace": 3600000}'  # 1 hour
curl -X POST http://localhost:3000/queue/vc-issuance/clean
""".strip()
LINES = SEED.replace("\\\n", "").splitlines()
JOB = {
    "name": "issue-vc",
    "data": {
        "issuerDid": "did:web:nobody.example",
        "subjectDid": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
        "credentialType": "UniversityDegreeCredential",
        "claims": {"degree": "Bachelor of Science"},
        "organizationId": "org-123",
        "userId": "user-456",
    },
    "options": {"jobId": "12345"},
}


def ask(url: str, method: str = "GET", body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["data"]


def test_every_line_runs_as_written(up_url: str) -> None:
    """Nobody has made keys for the issuer, so the job fails, before and after its retry."""
    job = f"{up_url}/queue/vc-issuance/job/12345"
    ask(f"{up_url}/queue/vc-issuance/jobs", "POST", JOB)

    def has_failed() -> bool:
        return bool(ask(job)["state"] == "failed")

    eventually(has_failed, within_s=60, what="the job has failed")
    answers = {}
    for line in LINES:
        if "DELETE" in line:
            eventually(has_failed, within_s=60, what="the job has failed again")
        here = line.replace("http://localhost:3000", up_url)
        done = subprocess.run(
            [*shlex.split(here, comments=True), "-sS", "--fail-with-body"],
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        answer = json.loads(done.stdout)
        assert answer["success"] is True, line
        answers[line] = answer["data"]
    assert {row["name"] for row in answers[LINES[0]]} >= {"vc-issuance", "emails"}
    assert [one["id"] for one in answers[LINES[2]]] == ["12345"]
    assert answers[LINES[4]]["state"] == "failed"
    assert (answers[LINES[7]]["paused"], answers[LINES[8]]["paused"]) == (True, False)
    assert answers[LINES[9]] == {"removed": 0}
