"""Manifests: what pods may do, where secrets lie, what is open."""

import base64
import re
from urllib.parse import urlsplit

import pytest
from manifests import (
    OVERLAYS,
    PRODUCTION,
    Thing,
    components,
    container,
    environment,
    name_of,
    of,
    ours,
    pod,
    some_pod,
    words,
    workloads,
)

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)
in_production = pytest.mark.parametrize("overlay", PRODUCTION)


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


@everywhere
def test_each_role_has_an_account_of_its_own_and_no_token(overlay: str) -> None:
    for one in ours(overlay):
        (role,) = container(one)["args"]
        assert pod(one)["serviceAccountName"] == role
    accounts = {name_of(account): account for account in of(overlay, "ServiceAccount")}
    assert accounts.keys() == {"gateway", "scheduler", "worker"}
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())


@everywhere
def test_the_gateway_and_the_scheduler_stay_before_the_workers(overlay: str) -> None:
    value = {name_of(one): one["value"] for one in of(overlay, "PriorityClass")}
    given = {name_of(one): pod(one).get("priorityClassName") for one in ours(overlay)}
    assert set(given.values()) == ({*value} if "priority" in components(overlay) else {None})
    if value:
        core = {given.pop("gateway"), given.pop("scheduler")}
        assert min(value[name] for name in core) > max(value[name] for name in given.values())


@everywhere
def test_the_limit_of_memory_is_above_the_request_within_reason(overlay: str) -> None:
    for one in ours(overlay):
        asked = container(one)["resources"]
        request, limit = (
            int(asked[kind]["memory"].removesuffix("Mi")) for kind in ("requests", "limits")
        )
        assert 1.5 <= limit / request <= 2, name_of(one)


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
    rings = {b"dev-1:" + b"A" * 43, b"dev-1:B" + b"A" * 42}
    assert values == {b"development", b""} | rings


@in_production
def test_the_keys_and_redis_password_lie_apart_and_only_where_they_are_needed(overlay: str) -> None:
    def with_ring(variable: str) -> set[str]:
        return {name_of(one) for one in ours(overlay) if variable in environment(overlay, one)}

    issuers = {"worker-vc-issuance", "worker-did-operations", "worker-status-lists"}
    assert with_ring("CREDSTREAM_KEKS_FILE") == issuers
    assert with_ring("CREDSTREAM_WEBHOOK_KEKS_FILE") == {"gateway", "worker-webhooks"}
    sealing = {"gateway", "scheduler", "worker-vc-issuance", "worker-webhooks"}
    assert with_ring("CREDSTREAM_DATA_KEKS_FILE") == sealing


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


@in_production
def test_a_policy_lets_spans_out_where_spans_are_sent(overlay: str) -> None:
    """To the namespace and a port of the collector that the settings name."""
    policies = {name_of(policy): policy["spec"] for policy in of(overlay, "NetworkPolicy")}
    for one in ours(overlay):
        endpoint = environment(overlay, one).get("OTEL_EXPORTER_OTLP_ENDPOINT")
        assert (endpoint is not None) == ("tracing" in components(overlay))
        if endpoint is None:
            assert "tracing" not in policies
            continue
        where = urlsplit(endpoint)
        assert one in some_pod(overlay, policies["tracing"]["podSelector"])
        (rule,) = policies["tracing"]["egress"]
        (to,) = rule["to"]
        space = to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        assert str(where.hostname).split(".")[1] == space
        assert {port["port"] for port in rule["ports"]} == {4317, 4318}
        assert where.port in (4317, 4318)


@in_production
def test_the_world_comes_in_by_tls_and_through_a_proxy_that_is_counted(overlay: str) -> None:
    """The way in ends at the gateway's port of requests, for the host that is told to the world."""
    (gateway,) = [one for one in ours(overlay) if name_of(one) == "gateway"]
    env = environment(overlay, gateway)
    assert env["TRUSTED_PROXIES"] == "1"
    others = [one for one in ours(overlay) if name_of(one) != "gateway"]
    assert all("TRUSTED_PROXIES" not in environment(overlay, one) for one in others)
    host = urlsplit(env["PUBLIC_URL"]).hostname
    ingresses, routes = of(overlay, "Ingress"), of(overlay, "HTTPRoute")
    assert len(ingresses) + len(routes) == 1
    for ingress in ingresses:
        spec = ingress["spec"]
        assert spec["tls"] == [{"hosts": [host], "secretName": "credstream-tls"}]
        (rule,) = spec["rules"]
        (path,) = rule["http"]["paths"]
        assert rule["host"] == host
        assert path["backend"]["service"] == {"name": "gateway", "port": {"name": "http"}}
    for route in routes:
        (entry,) = of(overlay, "Gateway")
        (listener,) = entry["spec"]["listeners"]
        assert (listener["protocol"], listener["tls"]["mode"]) == ("HTTPS", "Terminate")
        assert route["spec"]["hostnames"] == [listener["hostname"]] == [host]
        (parent,) = route["spec"]["parentRefs"]
        assert parent == {"name": name_of(entry), "sectionName": listener["name"]}
        (rule,) = route["spec"]["rules"]
        (service,) = [one for one in of(overlay, "Service") if name_of(one) == "gateway"]
        ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
        assert rule["backendRefs"] == [{"name": "gateway", "port": ports["http"]}]
