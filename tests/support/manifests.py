"""The rendered overlays, and how to get at what lies in them."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RENDERED = ROOT / "tests" / "deploy" / "rendered"
OVERLAYS = tuple(sorted(folder.name for folder in (DEPLOY / "k8s" / "overlays").iterdir()))
PRODUCTION = tuple(name for name in OVERLAYS if name != "dev")
WORKLOADS = ("Deployment", "StatefulSet")

Thing = dict[str, Any]


@cache
def things(overlay: str) -> tuple[Thing, ...]:
    """Every object of an overlay, from the rendering under review."""
    return tuple(yaml.safe_load_all((RENDERED / f"{overlay}.yaml").read_text()))


def of(overlay: str, *kinds: str) -> list[Thing]:
    """The objects of these kinds."""
    return [thing for thing in things(overlay) if thing["kind"] in kinds]


def name_of(thing: Thing) -> str:
    name: str = thing["metadata"]["name"]
    return name


def named(overlay: str, kind: str, name: str) -> Thing:
    """The one object of this kind and name; KeyError."""
    found = {name_of(thing): thing for thing in of(overlay, kind)}
    return found[name]


def pod(workload: Thing) -> Thing:
    """The pod spec of a workload."""
    spec: Thing = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Thing) -> Thing:
    """Its only container."""
    (one,) = pod(workload)["containers"]
    found: Thing = one
    return found


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes an object with these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "In", one
        if labels.get(one["key"]) not in one["values"]:
            return False
    return True


def ours(overlay: str) -> list[Thing]:
    """The Deployments that run Credstream."""
    return of(overlay, "Deployment")


def workers_of(overlay: str) -> list[Thing]:
    """Of these, the workers."""
    return [one for one in ours(overlay) if container(one)["args"] == ["worker"]]


def components(overlay: str) -> set[str]:
    """The components that an overlay lists."""
    text = (DEPLOY / "k8s" / "overlays" / overlay / "kustomization.yaml").read_text()
    return {path.rpartition("/")[2] for path in yaml.safe_load(text)["components"]}


def environment(overlay: str, workload: Thing) -> dict[str, str]:
    """The environment of a container, as the kubelet would make it: envFrom, then env."""
    labels = workload["spec"]["template"]["metadata"]["labels"]
    one = container(workload)
    found: dict[str, str] = {}
    for source in one.get("envFrom", []):
        found |= named(overlay, "ConfigMap", source["configMapRef"]["name"])["data"]
    for item in one.get("env", []):
        if "value" in item:
            found[item["name"]] = item["value"]
        else:
            path = item["valueFrom"]["fieldRef"]["fieldPath"]
            found[item["name"]] = labels[path.split("'")[1]]
    return found


def words(thing: Any) -> Iterator[str]:
    """Every string in an object, keys too."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield key
            yield from words(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from words(value)


def workloads(overlay: str) -> list[Thing]:
    """Everything with a pod template."""
    return of(overlay, *WORKLOADS)


def labels(workload: Thing) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def some_pod(overlay: str, selector: dict[str, Any]) -> list[Thing]:
    return [one for one in workloads(overlay) if matches(selector, labels(one))]


def ports(workload: Thing) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(workload)["ports"]}


def lower(env: dict[str, str]) -> dict[str, str]:
    """An environment as the fields of settings are called."""
    return {name.lower(): value for name, value in env.items()}
