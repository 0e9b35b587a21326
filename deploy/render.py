# ruff: noqa: INP001
"""Writes what is made from something else: the PrometheusRule from deploy/prometheus, the
dashboards, and every overlay as kubectl renders it, for review. The tests compare:

    python deploy/render.py     # needs kubectl 1.27 or newer
"""

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parent
OVERLAYS = DEPLOY / "k8s" / "overlays"
RENDERED = DEPLOY.parent / "tests" / "deploy" / "rendered"
RULE_FILES = ("recording.yaml", "alerts.yaml")


def prometheus_rule() -> str:
    """The rules as the Prometheus operator takes them."""
    groups = [
        group
        for name in RULE_FILES
        for group in yaml.safe_load((DEPLOY / "prometheus" / name).read_text())["groups"]
    ]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "credstream"},
        "spec": {"groups": groups},
    }
    text = yaml.safe_dump(rule, sort_keys=False, width=1_000)
    return f"# Made from deploy/prometheus by deploy/render.py.\n{text}"


def dashboards() -> dict[str, str]:
    """File name -> JSON, as deploy/grafana/build.py makes them."""
    spec = importlib.util.spec_from_file_location("build", DEPLOY / "grafana" / "build.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("deploy/grafana/build.py")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: json.dumps(one, indent=1) + "\n" for name, one in module.DASHBOARDS.items()}


def overlay(name: str) -> str:
    """An overlay as it would be applied."""
    words = ["kubectl", "kustomize", str(OVERLAYS / name)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout  # noqa: S603


def main() -> None:
    """Write all of it."""
    rule = DEPLOY / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"
    rule.write_text(prometheus_rule())
    for name, text in dashboards().items():
        (DEPLOY / "grafana" / "dashboards" / name).write_text(text)
    for folder in sorted(OVERLAYS.iterdir()):
        (RENDERED / f"{folder.name}.yaml").write_text(overlay(folder.name))


if __name__ == "__main__":
    main()
