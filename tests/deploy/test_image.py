"""What can be said of the image and compose.yaml without building; deploy/image/check.sh does."""

import json
import re
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from manifests import DEPLOY, ROOT

from consumers.settings import WorkerSettings
from credentials.keyring import Keyring
from gateway.settings import GatewaySettings

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SPECIFIED = Draft7Validator(json.loads((ROOT / "tests/vectors/compose-spec.json").read_text()))
OURS = ("gateway", "worker")
PIN = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)


def pins(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text()))


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert "\nUSER 10001:10001\n" in last
    assert "\nSTOPSIGNAL SIGTERM\n" in last
    assert '\nENTRYPOINT ["credstream"]\n' in last
    assert "--chown" not in DOCKERFILE
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE}", "${BASE}"]


def test_the_image_holds_every_floor() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    floors = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert re.findall(r"^COPY (\w+) \./\1$", DOCKERFILE, re.MULTILINE) == floors
    shipped = (ROOT / ".dockerignore").read_text()
    assert all(f"\n!{floor}\n" in shipped for floor in floors)


def test_what_is_installed_is_what_was_tested() -> None:
    """The image's lock is a part of the one for development, with a hash for every file."""
    tested, image = pins(ROOT / "requirements.lock"), pins(DEPLOY / "image" / "requirements.lock")
    assert image.items() <= tested.items()
    # Debian 12 has Python 3.11.2, which needs it; click needs the other on Windows.
    assert {"async-timeout", "colorama"} <= tested.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for extra in ("dkim", "otel") for one in project["optional-dependencies"][extra]]
    for wanted in (*project["dependencies"], *extras):
        assert re.split(r"[\[<>=;]", wanted)[0] in image, wanted
    assert "pytest" not in image
    for name in ("requirements.lock", "build.lock"):
        text = (DEPLOY / "image" / name).read_text()
        for block in re.split(r"\n(?=\S)", text.strip()):
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_dockerfile_is_well_formed() -> None:
    # It is among the locked packages for development, beside this interpreter.
    words = [str(Path(sys.executable).with_name("hadolint")), str(ROOT / "Dockerfile")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", OURS)
def test_compose_runs_them_as_production_would(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["command"] == [name]
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, value)
    grace_s = float(service["stop_grace_period"].removesuffix("s"))
    gateway, worker = GatewaySettings(), WorkerSettings()
    assert grace_s >= 10 + (
        gateway.shutdown_timeout_s if name == "gateway" else worker.drain_timeout_s
    )


def test_compose_says_what_its_specification_knows() -> None:
    assert [error.message for error in SPECIFIED.iter_errors(COMPOSE)] == []


@pytest.mark.parametrize(
    "where",
    [
        "",
        "services/worker",
        "services/redis/healthcheck",
        "services/gateway/depends_on/redis",
        "services/gateway/build",
        "secrets/keks",
    ],
)
def test_a_slip_of_the_pen_in_compose_is_seen(where: str) -> None:
    spoiled = found = deepcopy(COMPOSE)
    for step in where.split("/") if where else ():
        found = found[step]
    found["stop_grace"] = "45s"
    assert not SPECIFIED.is_valid(spoiled)


def test_compose_is_open_to_this_machine_only() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_what_compose_mounts_is_there_and_the_ring_is_one() -> None:
    mounted = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert len(mounted) == 5
    assert all((ROOT / path).exists() for path in mounted)
    rings = {name: (ROOT / one["file"]).read_text() for name, one in COMPOSE["secrets"].items()}
    assert rings.keys() == {"keks", "webhook-keks"}
    assert Keyring.parse(rings["keks"]).active == "issuer/dev-1"
    assert Keyring.parse(rings["webhook-keks"], "webhook").active == "webhook/dev-1"
    assert len(set(rings.values())) == 2


def test_prometheus_is_told_every_rule_and_where_the_numbers_are() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "compose.yaml").read_text())
    assert config["rule_files"] == ["recording.yaml", "alerts.yaml"]
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert found["names"] == list(OURS)
    ports = {
        COMPOSE["services"]["gateway"]["environment"]["METRICS_PORT"],
        COMPOSE["services"]["worker"]["environment"]["PROBE_PORT"],
    }
    assert ports == {str(found["port"])}
