"""Finds processors: a folder listing that reads one attribute. No registration, no import order."""

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from consumers.child import FILE_MODULE, load_file
from consumers.processor import Processor

ENTRY_POINTS = "credstream.processors"


class NoProcessor(Exception):
    """A place that was named has no processor, or a queue that was named has none."""


def installed() -> Iterator[Processor]:
    """The product's processors, then those of other packages (entry point
    `credstream.processors`, each naming a Processor)."""
    package = importlib.import_module("consumers.processors")
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        yield importlib.import_module(f"consumers.processors.{info.name}").PROCESSOR
    for point in entry_points(group=ENTRY_POINTS):
        yield point.load()


def named(places: str) -> Iterator[Processor]:
    """Processors in files, folders or modules, as `--processors` names them. Raises NoProcessor."""
    for place in filter(None, (part.strip() for part in places.split(","))):
        path = Path(place)
        if path.is_dir():
            modules = [_from_file(file) for file in sorted(path.glob("*.py"))]
            modules = [module for module in modules if hasattr(module, "PROCESSOR")]
        elif path.suffix == ".py":
            modules = [_from_file(path)]
        else:
            modules = [_from_name(place)]
        found = [module.PROCESSOR for module in modules if hasattr(module, "PROCESSOR")]
        if not found:
            raise NoProcessor(f"{place} has no PROCESSOR = Processor(...)")
        yield from found


def choose(places: str, wanted: list[str]) -> list[Processor]:
    """The processors to run, one per queue; a named one wins over an installed one.

    Raises NoProcessor for a wanted queue that nobody can process."""
    by_queue = {processor.spec.name: processor for processor in (*installed(), *named(places))}
    missing = [name for name in wanted if name not in by_queue]
    if missing:
        there = ", ".join(by_queue)
        raise NoProcessor(f"no processor for {', '.join(missing)}; there are {there}")
    return [by_queue[name] for name in wanted] if wanted else list(by_queue.values())


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NoProcessor(f"there is no file {path}")
    return load_file(f"{FILE_MODULE}{path.stem}", str(path.resolve()))


def _from_name(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise NoProcessor(f"there is no module {name}: {error}") from None
