"""Rules of the house that no linter knows."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

import consumers.processors
from consumers.processor import Processor
from schemas.job import QueueName
from schemas.spec import CallbackEvents, QueueSpec, catalog

ROOT = Path(__file__).parents[1]
FLOORS = (
    "schemas",
    "streams",
    "credentials",
    "outbound",
    "consumers",
    "gateway",
    "credstream",
)
LIMITS = {".py": 300, ".lua": 100}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "base"}
EVENT = re.compile(r"[a-z]+(\.[a-z]+)+")
SPECS = catalog()
PROCESSORS = sorted(info.name for info in pkgutil.iter_modules(consumers.processors.__path__))


def product(*floors: str) -> list[Path]:
    files = [
        path
        for floor in floors
        for path in (ROOT / floor).rglob("*")
        if path.suffix in LIMITS and "__pycache__" not in path.parts
    ]
    assert len(files) > len(floors)
    return files


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in product(*FLOORS)}
    assert {path.suffix for path in lengths} == set(LIMITS)
    assert {
        str(path.relative_to(ROOT)): lines
        for path, lines in lengths.items()
        if lines > LIMITS[path.suffix]
    } == {}


def test_no_file_is_a_drawer() -> None:
    assert {path.stem for path in product(*FLOORS)} & FORBIDDEN_NAMES == set()


def reads_environment(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            names = {alias.name for alias in node.names}
            if names & {"environ", "environb", "getenv"}:
                return True
    return False


def test_only_the_doorstep_reads_the_environment() -> None:
    engine = [path for path in product(*FLOORS[:-1]) if path.suffix == ".py"]
    assert [str(path.relative_to(ROOT)) for path in engine if reads_environment(path)] == []


@pytest.mark.parametrize(
    "code",
    ["import os\nos.environ['A']", "import os as o\no.getenv('A')", "from os import environ as e"],
)
def test_the_rule_about_the_environment_sees_every_spelling(tmp_path: Path, code: str) -> None:
    (tmp_path / "x.py").write_text(code)
    assert reads_environment(tmp_path / "x.py")


def test_the_work_of_every_script_is_measured() -> None:
    """A new script gets its heaviest calls, or its bound, in tests/streams/test_script_work.py."""
    measured = (ROOT / "tests" / "streams" / "test_script_work.py").read_text()
    named = set(re.findall(r'"(\w+)"', measured))
    scripts = {path.stem for path in (ROOT / "streams" / "lua").glob("[!_]*.lua")}
    assert scripts <= named, f"in no table of test_script_work.py: {scripts - named}"


def test_the_seeds_queues_are_in_the_catalogue() -> None:
    seed = {"vc-issuance", "vc-verification", "did-operations", "webhooks", "emails"}
    assert seed <= set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_every_queue_is_well_formed(name: str) -> None:
    spec = SPECS[name]
    module = importlib.import_module(f"schemas.queues.{name.replace('-', '_')}")
    assert module.SPEC is spec
    assert spec.name == name == TypeAdapter(QueueName).validate_python(name)
    assert spec.description
    assert not spec.description.endswith(".")
    assert spec.payload is not None
    assert issubclass(spec.payload, BaseModel)
    assert spec.payload.model_config.get("extra") == "forbid"
    assert spec.payload.model_json_schema()["type"] == "object"
    assert spec.result is None or issubclass(spec.result, BaseModel)
    assert "organizationId" in spec.payload.model_json_schema()["properties"]


@pytest.mark.parametrize("name", SPECS)
def test_the_defaults_and_limits_of_every_queue_make_sense(name: str) -> None:
    spec = SPECS[name]
    # Options that belong to one job are no queue's default.
    assert spec.defaults.job_id is spec.defaults.callback_url is spec.defaults.traceparent is None
    assert type(spec.defaults).model_validate(spec.defaults.model_dump(exclude_unset=True))
    assert spec.lease_ms >= 1_000
    assert spec.timeout_ms is not None
    assert spec.timeout_ms >= 60_000
    assert spec.max_stalls >= 1
    assert spec.max_starts >= 1
    assert spec.concurrency is None or spec.concurrency >= 1
    assert spec.limiter is None or min(spec.limiter.max, spec.limiter.duration) >= 1
    keep = spec.retention
    for limit in (keep.completed_ms, keep.completed_count, keep.failed_ms, keep.failed_count):
        assert limit is None or limit > 0


@pytest.mark.parametrize("name", SPECS)
def test_the_callback_events_of_every_queue_have_names(name: str) -> None:
    events = SPECS[name].events
    assert events is not None
    for operation in ("create", "update", "deactivate"):
        named = events({"operation": operation})
        assert isinstance(named, CallbackEvents)
        assert EVENT.fullmatch(named.completed)
        assert EVENT.fullmatch(named.failed)
        assert named.failed.endswith(".failed")


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_processor_works_on_the_queue_of_its_files_name(name: str) -> None:
    processor = importlib.import_module(f"consumers.processors.{name}").PROCESSOR
    assert isinstance(processor, Processor)
    assert isinstance(processor.spec, QueueSpec)
    assert processor.spec is SPECS[name.replace("_", "-")]
