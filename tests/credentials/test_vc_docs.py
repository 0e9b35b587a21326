"""docs/credentials.md names every code and every member, and its examples are jobs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from schemas.queues.vc_issuance import VcIssuance

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "credentials.md").read_text()
RAISING = (
    "consumers/custody.py",
    "consumers/processors/vc_issuance.py",
    "consumers/status_lists.py",
    "credentials/contexts.py",
    "credentials/keyring.py",
    "credentials/signer.py",
    "credentials/vc.py",
)
ELSEWHERE = {"status_list_unknown"}
"""Raised in these files, but not for an issuance."""
CODE = re.compile(
    r"(?:CredentialError|ContextRefused|KeyRefused|SealError|StatusError|_refused)\(\s*"
    r'"([a-z_]+)"'
)


def table(heading: str) -> str:
    """The text of one section, without its sub-sections."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]


def test_codes() -> None:
    raised = {code for file in RAISING for code in CODE.findall((ROOT / file).read_text())}
    listed = {
        code
        for codes in re.findall(r"^\| (`.*`) \|", table("Refusals"), re.MULTILINE)
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    assert len(raised) > 15
    assert listed == raised - ELSEWHERE | {"invalid_payload"}


def test_members() -> None:
    listed = {
        name
        for names in re.findall(r"^\| (`[^|]*`) \|", table("A job"), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert listed == set(VcIssuance.model_json_schema()["properties"])


def examples() -> list[Any]:
    blocks = re.findall(r"```(?:json|bash)\n(.*?)```", PAGE, re.DOTALL)
    found = [re.search(r"\{\n  \"data\".*\n\}", block, re.DOTALL) for block in blocks]
    return [json.loads(each[0])["data"] for each in found if each]


def test_there_are_examples() -> None:
    assert len(examples()) == 2


@pytest.mark.parametrize("number", range(2))
def test_an_example_is_a_job(number: int) -> None:
    VcIssuance.model_validate(examples()[number])
