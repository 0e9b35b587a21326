"""What no schema says of manifests: layout, references, selectors, autoscalers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import redis
import yaml
from manifests import (
    DEPLOY,
    OVERLAYS,
    PRODUCTION,
    components,
    container,
    environment,
    labels,
    matches,
    name_of,
    named,
    of,
    ours,
    pod,
    ports,
    some_pod,
    things,
    workers_of,
    workloads,
)
from processes import free_ports
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from schemas.spec import catalog

PATIENT = Retry(ConstantBackoff(0.1), 100)

CLUSTER = ("Namespace", "PriorityClass")
"""Kinds that lie in no namespace."""

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)
in_production = pytest.mark.parametrize("overlay", PRODUCTION)


@everywhere
def test_every_queue_of_the_catalogue_has_one_deployment(overlay: str) -> None:
    workers = workers_of(overlay)
    assert sorted(environment(overlay, one)["QUEUES"] for one in workers) == sorted(catalog())
    for one in workers:
        assert name_of(one) == f"worker-{environment(overlay, one)['QUEUES']}"


@everywhere
def test_everything_is_in_one_namespace_and_none_is_there_twice(overlay: str) -> None:
    (space,) = of(overlay, "Namespace")
    keys = [(thing["kind"], name_of(thing)) for thing in things(overlay)]
    assert len(keys) == len(set(keys))
    spaces = {t["metadata"].get("namespace") for t in things(overlay) if t["kind"] not in CLUSTER}
    assert spaces == {name_of(space)}


@in_production
def test_images_are_named_by_digest(overlay: str) -> None:
    for one in workloads(overlay):
        assert re.search(r"@sha256:[0-9a-f]{64}$", container(one)["image"]), name_of(one)


def test_no_image_is_latest() -> None:
    for overlay in OVERLAYS:
        for one in workloads(overlay):
            assert re.search(r":(?!latest)[\w.-]+$", container(one)["image"])


@everywhere
def test_what_is_referred_to_exists(overlay: str) -> None:
    classes = {name_of(one) for one in of(overlay, "PriorityClass")}
    made = {name_of(secret) for secret in of(overlay, "Secret")}
    made |= {external["spec"]["target"]["name"] for external in of(overlay, "ExternalSecret")}
    maps = {name_of(one) for one in of(overlay, "ConfigMap")}
    accounts = {name_of(one) for one in of(overlay, "ServiceAccount")} | {"default"}
    for one in workloads(overlay):
        spec, box = pod(one), container(one)
        assert "priorityClassName" not in spec or spec["priorityClassName"] in classes
        assert spec.get("serviceAccountName", "default") in accounts
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        claims = {name_of(claim) for claim in one["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in box["volumeMounts"]} == set(volumes) | claims
        for volume in volumes.values():
            assert "secret" not in volume or volume["secret"]["secretName"] in made
            assert "configMap" not in volume or volume["configMap"]["name"] in maps
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            (how,) = (box[probe][kind] for kind in ("httpGet", "tcpSocket") if kind in box[probe])
            assert how["port"] in ports(one), (name_of(one), probe)


@everywhere
def test_files_named_in_the_environment_are_mounted(overlay: str) -> None:
    keys: dict[str, set[str]] = {
        name_of(secret): set(secret["data"]) for secret in of(overlay, "Secret")
    }
    for external in of(overlay, "ExternalSecret"):
        items = {item["secretKey"] for item in external["spec"]["data"]}
        keys[external["spec"]["target"]["name"]] = items
    for one in ours(overlay):
        mounts = {m["mountPath"]: m["name"] for m in container(one)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod(one)["volumes"]}
        files = [v for n, v in environment(overlay, one).items() if n.endswith("_FILE")]
        assert files
        for file in files:
            folder, _, leaf = file.rpartition("/")
            assert leaf in keys[volumes[mounts[folder]]["secret"]["secretName"]], file


@everywhere
def test_every_selector_takes_some_pod(overlay: str) -> None:
    for one in workloads(overlay):
        assert matches(one["spec"]["selector"], labels(one))
        assert len(some_pod(overlay, one["spec"]["selector"])) == 1, name_of(one)
        for spread in pod(one).get("topologySpreadConstraints", []):
            assert some_pod(overlay, spread["labelSelector"]) == [one]
    for service in of(overlay, "Service"):
        (target,) = some_pod(overlay, {"matchLabels": service["spec"]["selector"]})
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports(target))
    for kind in ("PodDisruptionBudget", "PodMonitor"):
        for thing in of(overlay, kind):
            assert some_pod(overlay, thing["spec"]["selector"]), name_of(thing)
    for policy in of(overlay, "NetworkPolicy"):
        taken = some_pod(overlay, policy["spec"]["podSelector"])
        assert taken, name_of(policy)
        for rule in policy["spec"].get("ingress", []):
            named = {port["port"] for port in rule["ports"]}
            assert all(named <= set(ports(one)) for one in taken), name_of(policy)
    for monitor in of(overlay, "ServiceMonitor"):
        (service,) = [
            one
            for one in of(overlay, "Service")
            if matches(monitor["spec"]["selector"], one["metadata"].get("labels", {}))
        ]
        named = {port["name"] for port in service["spec"]["ports"]}
        assert {end["port"] for end in monitor["spec"]["endpoints"]} <= named


@everywhere
def test_a_budget_per_deployment_never_blocks_a_drain(overlay: str) -> None:
    for one in ours(overlay):
        budgets = [
            budget
            for budget in of(overlay, "PodDisruptionBudget")
            if matches(budget["spec"]["selector"], labels(one))
        ]
        (budget,) = budgets
        assert "minAvailable" not in budget["spec"]
        assert str(budget["spec"]["maxUnavailable"]).rstrip("%") != "0"
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@in_production
def test_every_deployment_has_one_autoscaler_and_no_number_of_its_own(overlay: str) -> None:
    scalers = of(overlay, "ScaledObject", "HorizontalPodAutoscaler")
    targets = sorted(one["spec"]["scaleTargetRef"]["name"] for one in scalers)
    fixed = [one for one in ours(overlay) if "replicas" in one["spec"]]
    assert targets == sorted(name_of(one) for one in ours(overlay) if one not in fixed)
    assert [(name_of(one), one["spec"]["replicas"]) for one in fixed] == [("scheduler", 2)]


@in_production
def test_workers_scale_on_the_demand_of_their_queue(overlay: str) -> None:
    workers = {name_of(one): environment(overlay, one) for one in ours(overlay)}
    for scaler in of(overlay, "ScaledObject", "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        if target == "gateway":
            continue
        queue, slots = workers[target]["QUEUES"], workers[target]["QUEUE_CONCURRENCY"]
        if scaler["kind"] == "HorizontalPodAutoscaler":
            (metric,) = scaler["spec"]["metrics"]
            external = metric["external"]
            assert external["metric"]["name"] == "credstream_queue_demand"
            assert external["metric"]["selector"]["matchLabels"] == {"queue": queue}
            assert external["target"] == {"type": "AverageValue", "averageValue": slots}
            assert scaler["spec"]["minReplicas"] == 1
            continue
        least = scaler["spec"]["minReplicaCount"]
        assert least == (0 if "scale-to-zero" in components(overlay) else 1)
        (trigger,) = scaler["spec"]["triggers"]
        meta = trigger["metadata"]
        assert trigger["metricType"] == "AverageValue"
        if trigger["type"] == "prometheus":
            series = f'credstream_queue_demand{{namespace="credstream",queue="{queue}"}}'
            assert meta["query"] == f"max({series})"
            assert meta["threshold"] == slots
            assert (meta["ignoreNullValues"], meta["activationThreshold"]) == ("false", "0")
        else:
            (service,) = [s for s in of(overlay, "Service") if name_of(s) == "gateway"]
            (port,) = [p["port"] for p in service["spec"]["ports"] if p["name"] == "metrics"]
            host = f"gateway.{service['metadata']['namespace']}.svc:{port}"
            assert meta["url"] == f"http://{host}/internal/scaling/{queue}"
            assert (meta["targetValue"], meta["valueLocation"]) == (slots, "demand")
            assert meta["activationTargetValue"] == "0"


@in_production
def test_workers_come_at_once_and_go_slowly(overlay: str) -> None:
    """Nor does a demand that is not known take pods away (E3)."""
    for scaler in of(overlay, "ScaledObject", "HorizontalPodAutoscaler"):
        if name_of(scaler) == "gateway":
            continue
        spec = scaler["spec"]
        if scaler["kind"] == "ScaledObject":
            assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
            assert (spec["pollingInterval"], spec["cooldownPeriod"]) == (15, 300)
            spec = spec["advanced"]["horizontalPodAutoscalerConfig"]
        up, down = spec["behavior"]["scaleUp"], spec["behavior"]["scaleDown"]
        assert (up["stabilizationWindowSeconds"], up["selectPolicy"]) == (0, "Max")
        assert down["stabilizationWindowSeconds"] == 300
        assert down["policies"] == [{"type": "Percent", "value": 25, "periodSeconds": 60}]


@in_production
def test_workers_go_to_zero_only_where_a_scheduler_is(overlay: str) -> None:
    zero = [s for s in of(overlay, "ScaledObject") if s["spec"]["minReplicaCount"] == 0]
    assert bool(zero) == ("scale-to-zero" in components(overlay))
    if zero:
        assert named(overlay, "Deployment", "scheduler")["spec"]["replicas"] >= 2
    assert "gateway" not in {name_of(scaler) for scaler in zero}


def test_scaling_to_zero_without_a_scheduler_is_refused(tmp_path: Path) -> None:
    """kubectl renders it with one, and not without."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    shutil.copytree(DEPLOY / "k8s", tmp_path / "k8s")
    shutil.copytree(DEPLOY / "grafana", tmp_path / "grafana")
    words = ["kubectl", "kustomize", str(tmp_path / "k8s" / "overlays" / "sentinel")]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    base = tmp_path / "k8s" / "base" / "kustomization.yaml"
    base.write_text(base.read_text().replace("  - scheduler\n", ""))
    refused = subprocess.run(words, capture_output=True, check=False, text=True)
    assert refused.returncode != 0
    assert "scheduler" in refused.stderr


def test_lag_is_never_asked_for() -> None:
    for path in (DEPLOY / "k8s").rglob("*.yaml"):
        assert "lagCount" not in path.read_text()
        list(yaml.safe_load_all(path.read_text()))


def test_redis_for_development_hears_sigterm(tmp_path: Path) -> None:
    """The command of the StatefulSet, with other paths: Redis is the process, not a child of it."""
    (one,) = of("dev", "StatefulSet")
    *shell, script = container(one)["command"]
    (port,) = free_ports(1)
    text = (DEPLOY / "k8s" / "components" / "redis-dev" / "redis.conf").read_text()
    text = text.replace("dir /data", f"dir {tmp_path}\nport {port}\nbind 127.0.0.1")
    (tmp_path / "redis.conf").write_text(text)
    (tmp_path / "password").write_text("development")
    script = script.replace("/etc/redis", str(tmp_path))
    script = script.replace("/run/secrets/redis", str(tmp_path))
    with subprocess.Popen([*shell, script], stdout=subprocess.DEVNULL) as process:
        try:
            client = redis.Redis(port=port, password="development", retry=PATIENT)
            assert client.info("server")["process_id"] == process.pid
            client.close()
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
