"""Every rendered object is one that Kubernetes takes, from the oldest to the newest version."""

import importlib.util
import os
import shutil
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from manifests import DEPLOY, OVERLAYS, RENDERED, Thing, components, name_of, of, things

OLDEST, NEWEST = "1.30", "1.37"
"""The versions we say we support (docs/deployment.md)."""
CUSTOM: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "crds.yaml").read_text())

TRIGGERS = {
    "prometheus": {
        *("serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues"),
    },
    "metrics-api": {"url", "valueLocation", "targetValue", "activationTargetValue", "format"},
    "cpu": {"value"},
}
"""The metadata that KEDA requires or knows, of those we use."""


def _render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render", DEPLOY / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


render = _render()


def schema_of(shape: Any) -> dict[str, Any]:
    """JSON Schema for the shorthand in crds.yaml."""
    if isinstance(shape, list):
        return {"type": "array", "minItems": 1, "items": schema_of(shape[0])}
    if isinstance(shape, dict):
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [name for name in shape if not name.endswith("?")],
            "properties": {name.rstrip("?"): schema_of(value) for name, value in shape.items()},
        }
    text = {"type": "string", "minLength": 1}
    return {
        "text": text,
        "number": {"type": "integer", "minimum": 0},
        "labels": {"type": "object", "additionalProperties": text},
        "any": {"type": "object"},
    }[shape]


def faults(thing: Thing) -> list[str]:
    """What is wrong with an object of a custom kind."""
    known = CUSTOM[thing["kind"]]
    schema = schema_of({"spec": known["spec"]})
    schema["properties"] |= {
        "apiVersion": {"const": known["apiVersion"]},
        "kind": {},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"name": {}, "namespace": {}, "labels": {}, "annotations": {}},
        },
    }
    return [error.message for error in Draft202012Validator(schema).iter_errors(thing)]


def test_an_overlay_is_rendered_as_it_was_reviewed() -> None:
    """The rendering in tests/deploy/rendered; `python deploy/render.py` writes it anew."""
    if shutil.which("kubectl") is None:
        missing = "kubectl is not installed: the renderings under review are checked as they are"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    assert {path.stem for path in RENDERED.iterdir()} == set(OVERLAYS)
    for overlay in OVERLAYS:
        fresh = render.overlay(overlay)
        assert fresh == (RENDERED / f"{overlay}.yaml").read_text(), overlay


def test_what_is_made_from_something_else_is_up_to_date() -> None:
    rule = DEPLOY / "k8s" / "components" / "monitoring" / "prometheusrule.yaml"
    assert rule.read_text() == render.prometheus_rule()
    folder = DEPLOY / "grafana" / "dashboards"
    assert {path.name: path.read_text() for path in folder.iterdir()} == render.dashboards()


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_it(overlay: str, version: str) -> None:
    core = [thing for thing in things(overlay) if thing["kind"] not in CUSTOM]
    assert len(core) > 20
    for thing in core:
        kubernetes_validate.validate(thing, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_operators_take_it(overlay: str) -> None:
    for thing in of(overlay, *CUSTOM):
        assert faults(thing) == [], name_of(thing)
    for thing in of(overlay, "ScaledObject"):
        for trigger in thing["spec"]["triggers"]:
            assert set(trigger["metadata"]) == TRIGGERS[trigger["type"]], name_of(thing)


def test_every_component_is_in_some_overlay() -> None:
    used = {name for overlay in OVERLAYS for name in components(overlay)}
    assert used == {folder.name for folder in (DEPLOY / "k8s" / "components").iterdir()}
    kinds = {thing["kind"] for overlay in OVERLAYS for thing in things(overlay)}
    assert set(CUSTOM) <= kinds


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_a_field_nobody_knows_is_refused(version: str) -> None:
    """The checks above can fail."""
    gateway = deepcopy(of("cluster", "Deployment")[0])
    gateway["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(gateway, version, strict=True)


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("ScaledObject", ("spec",), "scaleTargetReff"),
        ("ScaledObject", ("spec", "triggers", 0), "metricsType"),
        ("PodMonitor", ("spec",), "podMetricEndpoints"),
        ("ExternalSecret", ("spec", "data", 0, "remoteRef"), "version_"),
    ],
)
def test_a_field_no_operator_knows_is_refused(
    kind: str, path: tuple[str | int, ...], wrong: str
) -> None:
    thing = deepcopy(of("standalone", kind)[0])
    place: Any = thing
    for step in path:
        place = place[step]
    place[wrong] = "x"
    assert len(faults(thing)) == 1
