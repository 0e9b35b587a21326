"""Tokens of other implementations, from their own repositories, and what a strict reading by the
rules makes of them."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from judging import Bench

LINES = (Path(__file__).parents[1] / "vectors" / "foreign_jwts.jsonl").read_text().splitlines()
ROWS = [json.loads(line) for line in LINES]
CODES = {
    "resolve: unsupportedDidMethod": {"ALGORITHM_NOT_ALLOWED", "MALFORMED_VALUE_ERROR"},
    "resolve: invalidDid": {"MALFORMED_VALUE_ERROR"},
    "issuer: iss != issuer": {"CLAIM_CONFLICT"},
    "context: first must be v1": {"MALFORMED_VALUE_ERROR", "CLAIM_CONFLICT"},
    "signature: signature verification failed": {"PARSING_ERROR"},
    "kid: not an assertionMethod of the issuer": {"CLAIM_CONFLICT"},
}


@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{n}-{Path(r['file']).name}" for n, r in enumerate(ROWS)]
)
async def test_a_foreign_token(row: dict[str, Any]) -> None:
    bench = Bench(now=datetime.fromisoformat(row["checkedAt"]).timestamp())
    strict = row["verdicts"]["jose_strict"]
    if strict == "ok":
        verdict = await bench.valid(row["jwt"])
        assert verdict.issuer == row["issuer"]
        assert verdict.claims is not None
    else:
        assert await bench.code(row["jwt"]) in CODES[strict.removeprefix("NO:")]
    assert bench.fetched == []


def test_there_are_good_ones_and_bad_ones() -> None:
    good = [row for row in ROWS if row["verdicts"]["jose_strict"] == "ok"]
    assert (len(ROWS), len(good)) == (35, 7)


@pytest.mark.parametrize("row", [r for r in ROWS if r["verdicts"]["jose_strict"] == "ok"])
async def test_a_good_one_changed_anywhere_is_bad(row: dict[str, Any]) -> None:
    bench = Bench(now=datetime.fromisoformat(row["checkedAt"]).timestamp())
    token = row["jwt"]
    for place in range(0, len(token), max(1, len(token) // 25)):
        other = "A" if token[place] != "A" else "B"
        assert not (await bench.judge(token[:place] + other + token[place + 1 :])).valid
