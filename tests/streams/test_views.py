"""From records to what people see."""

from schemas.job import State
from streams.options import opts_of
from streams.views import job_view

RECORD = [b"j", b"id", b"h", b"1:2:1:3:1:1:::5.1-0:100:900", b"b"]
BODY = b'{"name":"n","data":{"big":[]},"opts":{"priority":2},"processedOn":800,"returnvalue":[1]}'


def test_a_completed_job_as_people_see_it() -> None:
    job = job_view("chaos", State.COMPLETED, b"9-0", [*RECORD, BODY], {"progress": b"50"})
    assert job.model_dump(by_alias=True, exclude={"opts"}) == {
        "id": "id",
        "ref": "id",
        "organizationId": None,
        "name": "n",
        "queue": "chaos",
        "state": "completed",
        "data": {"big": []},
        "progress": 50,
        "attemptsMade": 1,
        "attemptsStarted": 3,
        "stalledCount": 1,
        "timestamp": 100,
        "processedOn": 800,
        "finishedOn": 900,
        "delayUntil": None,
        "returnvalue": [1],
        "failedReason": None,
        "errors": [],
    }
    assert job.opts == {**opts_of({}), "priority": 2}


def test_what_was_put_aside_takes_its_place() -> None:
    extra = {"payload": b'{"whole":1}', "result": b'"all of it"'}
    job = job_view("chaos", State.COMPLETED, b"9-0", [*RECORD, BODY], extra)
    assert (job.data, job.returnvalue) == ({"whole": 1}, "all of it")


def test_a_running_job_began_when_its_worker_says_so() -> None:
    body = b'{"name":"n","data":{}}'
    extra = {"beats": {"w": b'500:{"running":{"id":450}}'}, "now_ms": 700}
    job = job_view("chaos", State.ACTIVE, b"9-0 w 30", [*RECORD, body], extra)
    assert (job.processed_on, job.attempts_started) == (450, 4)
    silent = job_view("chaos", State.ACTIVE, b"9-0 other 30", [*RECORD, body], extra)
    assert silent.processed_on == 670


def test_a_failed_job_says_why_and_a_delayed_one_when() -> None:
    history = b'[{"attempt":1,"reason":"failed","message":"a","started":5},{"attempt":2,"reason":"timeout","message":"b","started":7}]'  # noqa: E501
    record = [*RECORD, b'{"name":"n","data":{}}', b"x", history]
    failed = job_view("chaos", State.FAILED, b"9-0", record, {})
    assert (failed.failed_reason, failed.processed_on) == ("b", 7)
    assert [(error.attempt, error.reason) for error in failed.errors] == [
        (1, "failed"),
        (2, "timeout"),
    ]
    delayed = job_view("chaos", State.DELAYED, b"1.5e3", record, {})
    assert (delayed.failed_reason, delayed.delay_until) == (None, 1_500)
