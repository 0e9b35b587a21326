"""docs/callbacks.md names every event, and its schemas fit what the relay really writes."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from consumers.relay import callback_payload
from schemas.spec import CallbackEvents, QueueSpec, catalog
from streams.upkeep import Owed

PAGE = (Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()
SCHEMAS: dict[str, dict[str, Any]] = {
    name: orjson.loads(block)
    for name, block in re.findall(
        r"^### `([^`]+)`\n.*?```json\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL
    )
}
FAILURES = PAGE.partition("### Failures")[2]
FAILURE_SCHEMA = orjson.loads(FAILURES.partition("```json")[2].partition("```")[0])
CUSTOM = QueueSpec("orders")
OPERATIONS = ("create", "update", "deactivate")
TEXT, MOMENT = "x", "2026-01-02T03:04:05Z"
SAMPLES: dict[str, dict[str, Any]] = {
    "vc-issuance": {"vcJwt": TEXT, "credentialId": TEXT, "issuedAt": MOMENT},
    "vc-verification": {"valid": False, "error": TEXT},
    "did-operations": {"did": TEXT, "didDocument": {}, "verificationMethod": TEXT},
    "emails": {"messageId": TEXT, "relayResponse": TEXT, "acceptedAt": MOMENT},
    "webhooks": {"status": 200, "attempts": 1, "durationMs": 5, "webhookId": TEXT},
    "status-lists": {"listId": TEXT, "version": 7},
}
"""A result of each queue: no more than its model demands."""


def events(spec: QueueSpec) -> set[CallbackEvents]:
    if spec.events is None:
        return {CallbackEvents(f"{spec.name}.completed", f"{spec.name}.failed")}
    return {spec.events({"operation": operation}) for operation in OPERATIONS}


PAIRS = [(spec, pair) for spec in catalog().values() for pair in sorted(events(spec), key=repr)]
IDS = [pair.completed for _, pair in PAIRS]


def valid(schema: dict[str, Any], document: Any) -> bool:
    Draft202012Validator.check_schema(schema)
    checker = FormatChecker()
    return bool(Draft202012Validator(schema, format_checker=checker).is_valid(document))


def told(spec: QueueSpec, pair: CallbackEvents, event: str, value: Any) -> dict[str, Any]:
    to = {"url": "https://x.example", "completed": pair.completed, "failed": pair.failed}
    return callback_payload(spec, Owed(b"1767323045123-0", "job-1", "0", 1, to, event, value))


def test_the_page_names_every_event_and_no_other() -> None:
    assert set(SCHEMAS) == {pair.completed for _, pair in PAIRS} | {"<queue>.completed"}
    rows = re.findall(r"^\| `([a-z.<>]+)` \| (.*) \|$", FAILURES, re.MULTILINE)
    expected = {(pair.failed, f"`{spec.name}`") for spec, pair in PAIRS}
    assert set(rows) == expected | {("<queue>.failed", "a queue of your own")}


@pytest.mark.parametrize(("spec", "pair"), PAIRS, ids=IDS)
def test_what_is_told_fits_its_schema(spec: QueueSpec, pair: CallbackEvents) -> None:
    assert spec.result is not None
    result = SAMPLES[spec.name]
    spec.result.model_validate(result)
    schema = SCHEMAS[pair.completed]
    payload = told(spec, pair, "completed", result)
    assert valid(schema, payload)
    for name in schema["required"]:
        assert not valid(schema, {k: v for k, v in payload.items() if k != name}), name
    members = list(schema["properties"])
    assert [name for name in members if name in payload] == list(payload)
    model = spec.result.model_json_schema(by_alias=True)
    assert set(model["properties"]) <= set(members)
    assert set(model["required"]) <= set(schema["required"])


@pytest.mark.parametrize(("spec", "pair"), PAIRS, ids=IDS)
@pytest.mark.parametrize("reason", ["rejected", "failed", "timeout", "expired", "stalled"])
def test_a_failure_fits_its_schema(spec: QueueSpec, pair: CallbackEvents, reason: str) -> None:
    error = {"attempt": 3, "reason": reason, "message": TEXT, "at": 1}
    payload = told(spec, pair, "failed", error)
    assert valid(FAILURE_SCHEMA, payload)
    assert list(payload) == ["event", "queue", "jobId", "occurredAt", "error"]
    assert not valid(FAILURE_SCHEMA, {**payload, "event": pair.completed})


@pytest.mark.parametrize("result", [None, 1, [], {"n": 1}, {"event": "mine"}, {}])
def test_the_callback_of_a_queue_of_ones_own_fits_too(result: Any) -> None:
    (pair,) = events(CUSTOM)
    assert valid(SCHEMAS["<queue>.completed"], told(CUSTOM, pair, "completed", result))
    assert valid(FAILURE_SCHEMA, told(CUSTOM, pair, "failed", {"reason": "failed"}))


def test_only_the_seeds_payload_is_closed() -> None:
    assert {n for n, s in SCHEMAS.items() if "additionalProperties" in s} == {"vc.issued"}
    issued = {"event": "vc.issued", **SAMPLES["vc-issuance"]}
    assert valid(SCHEMAS["vc.issued"], issued)
    assert not valid(SCHEMAS["vc.issued"], {**issued, "jobId": "x"})
