"""Pointers name places of the document that was sent, nothing else."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway import faults
from gateway.shapes import CleanRequest, Submission


def found(document: Any) -> set[str]:
    with pytest.raises(ValidationError) as caught:
        Submission.model_validate(document)
    return {fault.pointer for fault in faults.of_model(caught.value, document)}


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        (3, {""}),
        (None, {""}),
        ([], {""}),
        ({}, {"/data"}),
        ({"data": 1}, {"/data"}),
        ({"data": [], "name": ""}, {"/data", "/name"}),
        ({"data": {}, "options": []}, {"/options"}),
        ({"data": {}, "a/b~c": 1}, {"/a~1b~0c"}),
        ({"data": {}, "options": {"removeOnFail": "maybe"}}, {"/options/removeOnFail"}),
        ({"data": {}, "options": {"removeOnFail": {"age": 0}}}, {"/options/removeOnFail/age"}),
        ({"data": {}, "options": {"removeOnFail": {}}}, {"/options/removeOnFail/age"}),
        ({"data": {}, "options": {"backoff": {"type": "no"}}}, {"/options/backoff/type"}),
        ({"data": {}, "options": {"backoff": "slow"}}, {"/options/backoff"}),
        ({"data": {}, "options": {"priority": 11}}, {"/options/priority"}),
        ({"data": {}, "options": {"priority": True}}, {"/options/priority"}),
    ],
)
def test_pointers(document: Any, pointers: set[str]) -> None:
    # A branch of a union that did not apply may be told at its parent as well.
    assert pointers <= found(document)
    assert all(any(p.startswith(one) for p in pointers) for one in found(document))


def test_details_speak_of_json_and_never_repeat_the_value() -> None:
    secret = "hunter2" * 100
    document = {"data": secret, "options": {"removeOnComplete": secret, "priority": secret}}
    with pytest.raises(ValidationError) as caught:
        Submission.model_validate(document)
    details = [fault.detail for fault in faults.of_model(caught.value, document)]
    assert "must be an object" in details
    assert not any("hunter2" in detail or "Submission" in detail for detail in details)


def test_a_choice_is_told_in_the_words_of_the_wire() -> None:
    with pytest.raises(ValidationError) as caught:
        CleanRequest.model_validate({"status": "waiting"})
    (fault,) = faults.of_model(caught.value, {"status": "waiting"})
    assert fault.detail == "must be 'completed' or 'failed'"
