"""Manifests and the program: numbers that must agree, and settings it knows."""

import importlib
import pkgutil
from functools import cache

import pytest
from manifests import (
    OVERLAYS,
    PRODUCTION,
    ROOT,
    container,
    environment,
    lower,
    name_of,
    ours,
    pod,
    ports,
)
from pydantic_settings import BaseSettings

from consumers.mail.settings import MailSettings
from consumers.settings import WorkerSettings
from gateway.settings import GatewaySettings
from streams import RedisSettings
from streams.claims import BLOCK_MS
from streams.settings import address

GIVE_BACK_S = 10
"""What a worker gets, on top of its drain, to give back jobs and close."""
CLICK = {"LOG_LEVEL"}
"""Options of the command line that have a variable but are no settings field."""
OTEL = {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
"""Read by the SDK of OpenTelemetry."""

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)
in_production = pytest.mark.parametrize("overlay", PRODUCTION)


@everywhere
def test_the_grace_period_covers_the_way_down(overlay: str) -> None:
    for one in ours(overlay):
        env, spec = environment(overlay, one), pod(one)
        hook = container(one).get("lifecycle", {}).get("preStop", {})
        before = hook.get("sleep", {}).get("seconds", 0)
        if name_of(one) == "gateway":
            assert before >= 5
            needed = before + GatewaySettings(**lower(env)).shutdown_timeout_s + GIVE_BACK_S
        elif name_of(one) == "scheduler":
            needed = GIVE_BACK_S
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
        assert all(c["matchLabelKeys"] == ["pod-template-hash"] for c in constraints)


@everywhere
def test_every_variable_is_a_setting_and_its_value_is_taken(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = CLICK | OTEL | {name for kind in settings_classes() for name in variables(kind)}
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
            role = {"gateway": "-gateway", "scheduler": "-scheduler"}.get(name_of(one), "")
            assert where.username is None
            assert env["REDIS_USERNAME"] == f"credstream{role}"
            (volume,) = [v for v in pod(one)["volumes"] if v["name"] == "redis"]
            assert volume["secret"]["secretName"] == f"credstream-redis{role}"
            assert where.kind == {"standalone": "single"}.get(overlay, overlay)
            assert not where.password


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
