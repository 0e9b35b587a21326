"""What no schema says of manifests: references, selectors, security, numbers that must agree."""

import base64
import importlib
import pkgutil
import re
from functools import cache
from typing import Any

import pytest
import yaml
from manifests import (
    DEPLOY,
    OVERLAYS,
    PRODUCTION,
    ROOT,
    WORKLOADS,
    Thing,
    container,
    environment,
    matches,
    name_of,
    of,
    ours,
    pod,
    things,
    words,
)
from pydantic_settings import BaseSettings

from consumers.mail.settings import MailSettings
from consumers.settings import WorkerSettings
from gateway.settings import GatewaySettings
from schemas.spec import catalog
from streams import RedisSettings
from streams.claims import BLOCK_MS
from streams.settings import address

GIVE_BACK_S = 10
"""What a worker gets, on top of its drain, to give back jobs and close."""
QUEUE_LABEL = "credstream.example/queue"
CLICK = {"LOG_LEVEL"}
"""Options of the command line that have a variable but are no settings field."""

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)
in_production = pytest.mark.parametrize("overlay", PRODUCTION)


def workloads(overlay: str) -> list[Thing]:
    return of(overlay, *WORKLOADS)


def labels(workload: Thing) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def some_pod(overlay: str, selector: dict[str, Any]) -> list[Thing]:
    return [one for one in workloads(overlay) if matches(selector, labels(one))]


def ports(workload: Thing) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in container(workload)["ports"]}


# Layout


@everywhere
def test_every_queue_of_the_catalogue_has_one_deployment(overlay: str) -> None:
    workers = [one for one in ours(overlay) if name_of(one) != "gateway"]
    assert sorted(environment(overlay, one)["QUEUES"] for one in workers) == sorted(catalog())
    for one in workers:
        assert name_of(one) == f"worker-{environment(overlay, one)['QUEUES']}"


@everywhere
def test_everything_is_in_one_namespace_and_none_is_there_twice(overlay: str) -> None:
    (space,) = of(overlay, "Namespace")
    keys = [(thing["kind"], name_of(thing)) for thing in things(overlay)]
    assert len(keys) == len(set(keys))
    outside = {t["metadata"].get("namespace") for t in things(overlay) if t["kind"] != "Namespace"}
    assert outside == {name_of(space)}


@in_production
def test_images_are_named_by_digest(overlay: str) -> None:
    for one in workloads(overlay):
        assert re.search(r"@sha256:[0-9a-f]{64}$", container(one)["image"]), name_of(one)


def test_no_image_is_latest() -> None:
    for overlay in OVERLAYS:
        for one in workloads(overlay):
            assert re.search(r":(?!latest)[\w.-]+$", container(one)["image"])


# References and selectors


@everywhere
def test_what_is_referred_to_exists(overlay: str) -> None:
    made = {name_of(secret) for secret in of(overlay, "Secret")}
    made |= {external["spec"]["target"]["name"] for external in of(overlay, "ExternalSecret")}
    maps = {name_of(one) for one in of(overlay, "ConfigMap")}
    accounts = {name_of(one) for one in of(overlay, "ServiceAccount")} | {"default"}
    for one in workloads(overlay):
        spec, box = pod(one), container(one)
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


# Security


@everywhere
def test_pods_meet_the_restricted_standard(overlay: str) -> None:
    (space,) = of(overlay, "Namespace")
    enforced = space["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"
    for one in workloads(overlay):
        assert unrestricted(one) == [], name_of(one)


def unrestricted(workload: Thing) -> list[str]:
    """What the Pod Security Standard `restricted` forbids, and a little more."""
    spec, box = pod(workload), container(workload)
    whole, own = spec["securityContext"], box["securityContext"]
    wanted = {
        "runs as root": whole.get("runAsNonRoot") is True and whole.get("runAsUser", 0) > 0,
        "any system call": whole.get("seccompProfile") == {"type": "RuntimeDefault"},
        "gains privileges": own.get("allowPrivilegeEscalation") is False,
        "keeps capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "writes its root": own.get("readOnlyRootFilesystem") is True,
        "is privileged": not own.get("privileged"),
        "shares the host": not any(spec.get(f"host{n}") for n in ("Network", "PID", "IPC")),
        "host ports": all("hostPort" not in port for port in box["ports"]),
        "volumes": all(
            set(volume) - {"name"} <= {"secret", "configMap", "emptyDir"}
            for volume in spec["volumes"]
        ),
        "has a token": spec.get("automountServiceAccountToken") is False,
        "service links": spec.get("enableServiceLinks") is False,
        "memory without limit": "memory" in box["resources"]["limits"],
        "a CPU limit": "cpu" not in box["resources"]["limits"],
        "no requests": set(box["resources"]["requests"]) == {"cpu", "memory"},
    }
    return [what for what, met in wanted.items() if not met]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_files_and_no_variables(overlay: str) -> None:
    for one in workloads(overlay):
        for item in container(one).get("env", []):
            assert "secretKeyRef" not in item.get("valueFrom", {})
            assert not re.search(r"(PASSWORD|KEKS|SECRET|TOKEN)$", item["name"]), item
        for volume in pod(one)["volumes"]:
            assert "secret" not in volume or volume["secret"]["defaultMode"] == 0o440
    for one in of(overlay, "ConfigMap"):
        assert not re.search(r"(?i)password=|:[^/@\s]+@", "\n".join(words(one["data"])))


def test_values_of_secrets_are_in_the_overlay_for_development_only() -> None:
    assert [overlay for overlay in OVERLAYS if of(overlay, "Secret")] == ["dev"]
    values = {
        base64.b64decode(value)
        for secret in of("dev", "Secret")
        for value in secret["data"].values()
    }
    assert values == {b"development", b"", b"dev-1:" + b"A" * 43}


@in_production
def test_the_keys_and_redis_password_lie_apart_and_only_where_they_are_needed(overlay: str) -> None:
    needed = {"gateway", "worker-vc-issuance", "worker-did-operations", "worker-status-lists"}
    with_keys = {
        name_of(one) for one in ours(overlay) if "CREDSTREAM_KEKS_FILE" in environment(overlay, one)
    }
    assert with_keys == needed | {"worker-webhooks"}


@in_production
def test_nothing_is_open_that_is_not_listed(overlay: str) -> None:
    (deny,) = [p for p in of(overlay, "NetworkPolicy") if name_of(p) == "default-deny"]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (world,) = [p for p in of(overlay, "NetworkPolicy") if name_of(p) == "internet"]
    online = {name_of(one) for one in some_pod(overlay, world["spec"]["podSelector"])}
    assert online == {"gateway", "worker-webhooks", "worker-vc-verification"}
    (rule,) = world["spec"]["egress"]
    private = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"}
    assert private <= set(rule["to"][0]["ipBlock"]["except"])
    assert rule["ports"] == [{"protocol": "TCP", "port": 443}]


# Numbers that must agree


@everywhere
def test_the_grace_period_covers_the_way_down(overlay: str) -> None:
    for one in ours(overlay):
        env, spec = environment(overlay, one), pod(one)
        hook = container(one).get("lifecycle", {}).get("preStop", {})
        before = hook.get("sleep", {}).get("seconds", 0)
        if name_of(one) == "gateway":
            assert before >= 5
            needed = before + GatewaySettings(**lower(env)).shutdown_timeout_s + GIVE_BACK_S
        else:
            assert before == 0
            needed = BLOCK_MS / 1000 + WorkerSettings(**lower(env)).drain_timeout_s + GIVE_BACK_S
        assert spec["terminationGracePeriodSeconds"] >= needed, name_of(one)


@everywhere
def test_a_delivery_of_mail_is_not_cut_off(overlay: str) -> None:
    (mail,) = [one for one in ours(overlay) if name_of(one) == "worker-emails"]
    env = lower(environment(overlay, mail))
    assert WorkerSettings(**env).drain_timeout_s > MailSettings(**env).smtp_timeout_s


@everywhere
def test_probes_ask_the_port_that_the_program_serves(overlay: str) -> None:
    for one in ours(overlay):
        env, named = environment(overlay, one), ports(one)
        box = container(one)
        if name_of(one) == "gateway":
            assert (env["HOST"], int(env["PORT"])) == ("0.0.0.0", named["http"])
            assert (env["METRICS_ON"], env["METRICS_HOST"]) == ("port", "0.0.0.0")
            assert int(env["METRICS_PORT"]) == named["metrics"]
        else:
            assert (env["PROBE_HOST"], int(env["PROBE_PORT"])) == ("0.0.0.0", named["metrics"])
        assert box["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert box["readinessProbe"]["httpGet"]["path"] == "/readyz"
        live, start = box["livenessProbe"], box["startupProbe"]
        assert live["periodSeconds"] * live["failureThreshold"] >= 60
        assert start["periodSeconds"] * start["failureThreshold"] >= 60


@everywhere
def test_a_rollout_never_takes_a_pod_away_first(overlay: str) -> None:
    for one in ours(overlay):
        assert one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        constraints = pod(one)["topologySpreadConstraints"]
        assert {c["topologyKey"] for c in constraints} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }


@everywhere
def test_every_variable_is_a_setting_and_its_value_is_taken(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = CLICK | {name for kind in settings_classes() for name in variables(kind)}
    for name in known:
        monkeypatch.delenv(name, raising=False)
    for one in ours(overlay):
        env = environment(overlay, one)
        assert set(env) - known == set(), name_of(one)
        with monkeypatch.context() as there:
            for name, value in env.items():
                there.setenv(name, value)
            for kind in settings_classes():
                kind()


@everywhere
def test_what_production_needs_is_set(overlay: str) -> None:
    for one in ours(overlay):
        env = environment(overlay, one)
        assert env["APP_ENV"] == "production"
        assert "DATA_DIR" not in env
        where = address(RedisSettings(url=env["REDIS_URL"]))
        if overlay in PRODUCTION:
            assert where.tls
            assert where.username == "credstream"
            assert where.kind == {"standalone": "single"}.get(overlay, overlay)
            assert not where.password


def lower(env: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in env.items()}


@cache
def settings_classes() -> tuple[type[BaseSettings], ...]:
    """Every settings class of the product."""
    for floor in ("streams", "credentials", "outbound", "consumers", "gateway", "credstream"):
        package = importlib.import_module(floor)
        for found in pkgutil.walk_packages(package.__path__, f"{floor}."):
            if found.name != "credstream.__main__":
                importlib.import_module(found.name)
    return tuple(
        kind
        for kind in BaseSettings.__subclasses__()
        if (ROOT / kind.__module__.split(".")[0]).is_dir()
    )


def variables(kind: type[BaseSettings]) -> set[str]:
    """The names of a class's environment variables."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    return {
        str(field.validation_alias or f"{prefix}{name}").upper()
        for name, field in kind.model_fields.items()
    }


# Scaling


@in_production
def test_every_deployment_has_one_autoscaler_and_no_number_of_its_own(overlay: str) -> None:
    scalers = of(overlay, "ScaledObject", "HorizontalPodAutoscaler")
    targets = sorted(one["spec"]["scaleTargetRef"]["name"] for one in scalers)
    assert targets == sorted(name_of(one) for one in ours(overlay))
    assert all("replicas" not in one["spec"] for one in ours(overlay))


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
        (trigger,) = scaler["spec"]["triggers"]
        meta = trigger["metadata"]
        assert trigger["metricType"] == "AverageValue"
        assert scaler["spec"]["minReplicaCount"] == 1
        if trigger["type"] == "prometheus":
            series = f'credstream_queue_demand{{namespace="credstream",queue="{queue}"}}'
            assert meta["query"] == f"max({series})"
            assert meta["threshold"] == slots
            assert meta["ignoreNullValues"] == "false"
        else:
            (service,) = [s for s in of(overlay, "Service") if name_of(s) == "gateway"]
            (port,) = [p["port"] for p in service["spec"]["ports"] if p["name"] == "metrics"]
            host = f"gateway.{service['metadata']['namespace']}.svc:{port}"
            assert meta["url"] == f"http://{host}/internal/scaling/{queue}"
            assert (meta["targetValue"], meta["valueLocation"]) == (slots, "demand")


def test_lag_is_never_asked_for() -> None:
    for path in (DEPLOY / "k8s").rglob("*.yaml"):
        assert "lagCount" not in path.read_text()
        list(yaml.safe_load_all(path.read_text()))
