"""Which processors there are, and what is said when one is missing."""

from pathlib import Path

import pytest

from consumers.discovery import NoProcessor, choose, installed, named

PROCESSOR = """
from consumers.processor import Processor
from schemas.spec import QueueSpec

async def handle(job):
    return {result!r}

PROCESSOR = Processor(QueueSpec({queue!r}), handle)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def write(path: Path, queue: str, result: str = "") -> Path:
    path.write_text(PROCESSOR.format(queue=queue, result=result))
    return path


def queues(places: str) -> list[str]:
    return [processor.spec.name for processor in named(places)]


def test_the_products_processors_are_found_by_listing_their_folder() -> None:
    names = [processor.spec.name for processor in installed()]
    assert {"did-operations", "vc-issuance"} <= set(names)
    assert len(names) == len(set(names))


def test_a_file_a_folder_and_several_of_them(folder: Path) -> None:
    one, two = write(folder / "b_one.py", "one"), write(folder / "a_two.py", "two")
    (folder / "sums.py").write_text("VALUE = 1\n")
    assert queues(str(one)) == ["one"]
    assert queues(str(folder)) == ["two", "one"]
    assert queues(f" {one} , {two},") == ["one", "two"]
    assert queues("") == []


def test_a_module_by_its_name() -> None:
    assert queues("consumers.processors.vc_issuance") == ["vc-issuance"]


def test_what_is_named_wins_over_what_is_installed(folder: Path) -> None:
    mine = write(folder / "mine.py", "vc-issuance", "mine")
    chosen = {processor.spec.name: processor for processor in choose(str(mine), [])}
    assert chosen["vc-issuance"].handle.__module__ == "credstream_processor_mine"
    assert "did-operations" in chosen


def test_only_wanted_queues_in_the_wanted_order() -> None:
    wanted = ["vc-issuance", "did-operations"]
    assert [processor.spec.name for processor in choose("", wanted)] == wanted


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("/no/such/file.py", "there is no file /no/such/file.py"),
        ("no_such_module_anywhere", "there is no module no_such_module_anywhere"),
        ("schemas.spec", r"schemas.spec has no PROCESSOR = Processor\(...\)"),
    ],
)
def test_a_place_without_a_processor_is_named(place: str, sentence: str) -> None:
    with pytest.raises(NoProcessor, match=sentence):
        choose(place, [])


def test_an_empty_folder_is_named(folder: Path) -> None:
    with pytest.raises(NoProcessor, match="has no PROCESSOR"):
        choose(str(folder), [])


def test_a_queue_nobody_can_process_is_named_with_those_there_are() -> None:
    with pytest.raises(NoProcessor, match=r"no processor for unheard-of; there are .*vc-issuance"):
        choose("", ["vc-issuance", "unheard-of"])
