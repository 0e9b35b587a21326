"""A deed can be recorded whatever texts it has: a command line may hold bytes that are no UTF-8."""

import math
from typing import Any

import orjson
import pytest
from hostile import ANY_TEXT
from hypothesis import given
from hypothesis import strategies as st

from streams.audit import RECORD_BYTES, Deed


@given(actor=ANY_TEXT, target=ANY_TEXT, organization=st.none() | ANY_TEXT)
def test_any_text_is_recorded(actor: str, target: str, organization: str | None) -> None:
    record = orjson.loads(Deed(actor, "key.create", target, organization).encode())
    assert record["action"] == "key.create"
    if actor.isascii() and target.isascii() and (organization or "").isascii():
        assert (record["actor"], record["target"]) == (actor, target)
        assert record["organizationId"] == organization


@pytest.mark.parametrize(
    "parameters", [{"name": "\udcff"}, {"n": math.nan}, {"n": 2**70}, {"x": "x" * RECORD_BYTES}]
)
def test_what_cannot_be_stored_of_the_parameters_is_left_out(parameters: dict[str, Any]) -> None:
    record = orjson.loads(Deed("ops", "key.create", "k", parameters=parameters).encode())
    assert (record["actor"], record["target"]) == ("ops", "k")
    assert record["parameters"].keys() == {"unreadable"}
