"""Rules are well formed, alerts fire when they should and only then, and each has its page."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_cases import CASES, Case, Series
from manifests import DEPLOY, ROOT

FILES = [DEPLOY / "prometheus" / name for name in ("recording.yaml", "alerts.yaml")]
RULES: list[dict[str, Any]] = [
    rule
    for path in FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
PARTS = ("means", "look", "do", "done")
"""What a page of the runbook answers: each paragraph begins with one of these, in bold."""


def promtool(*words: str | Path) -> str:
    """What promtool prints; it must succeed."""
    found = shutil.which("promtool")
    if found is None:
        missing = "promtool is not installed (Debian package prometheus)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    done = subprocess.run([found, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_well_formed() -> None:
    assert "27 rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", *FILES)


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    assert {f"Credstream{name}" for name in CASES} == set(ALERTS)
    tests = []
    for name, case in CASES.items():
        assert case.quiet, name
        tests.append(asked(name, case, case.fires, fires=True))
        tests += [asked(name, case, case.fires | less, fires=False) for less in case.quiet]
    whole = {"rule_files": [str(path) for path in FILES], "evaluation_interval": "1m"}
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({**whole, "tests": tests}))
    promtool("test", "rules", file)


def asked(name: str, case: Case, series: Series, *, fires: bool) -> dict[str, Any]:
    """One of promtool's tests: is the alert firing under these series?"""
    expr = (
        f'count(ALERTS{{alertname="Credstream{name}",alertstate="firing"}}) > bool 0 or vector(0)'
    )
    return {
        "name": f"{name} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": f"{case.at_minutes}m",
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
        ],
    }


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    page = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert page is not None, name
    assert [word.lower() for word in re.findall(r"^\*\*(\w+)", page[1], re.MULTILINE)] == list(
        PARTS
    )


def test_the_runbook_has_no_page_without_an_alert() -> None:
    assert set(re.findall(r"^## (Credstream\w+)$", RUNBOOK, re.MULTILINE)) == set(ALERTS)
