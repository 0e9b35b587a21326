"""Places that requesters share: however many somebody wants, the next one finds some."""

import pytest

from credentials.requester import (
    COMPUTATIONS,
    CapacityError,
    FairShare,
    Requester,
    acting_for,
    current_requester,
)


def fill(share: FairShare, holder: str) -> int:
    """Take as many places as there are for this holder."""
    count = 0
    while True:
        try:
            share.take(holder)
        except CapacityError:
            return count
        count += 1


def test_a_holder_has_as_many_as_are_free() -> None:
    share = FairShare(64)
    assert [fill(share, name) for name in "abcdefg"] == [32, 16, 8, 4, 2, 1, 1]
    assert share.free == 0
    assert fill(share, "a") == 0


def test_places_come_back() -> None:
    share = FairShare(4)
    assert fill(share, "a") == 2
    share.give_back("a")
    assert fill(share, "b") == 2
    share.give_back("a")
    share.give_back("b")
    share.give_back("b")
    assert share.free == 4


def test_a_request_holds_one_place_at_most() -> None:
    share = FairShare(4)
    with acting_for(Requester("a", share)):
        for _ in range(5):
            current_requester().occupy()
        assert share.free == 3
    assert share.free == 4
    assert current_requester().name == ""
    current_requester().occupy()


def test_a_request_with_many_computations_needs_a_place() -> None:
    share = FairShare(2)
    with acting_for(Requester("a", share)):
        for _ in range(COMPUTATIONS):
            current_requester().count_computation()
        assert share.free == 2
        current_requester().count_computation()
        assert share.free == 1
        another = Requester("a", share, computations=COMPUTATIONS)
        with acting_for(another), pytest.raises(CapacityError):
            current_requester().count_computation()
    assert share.free == 2


def test_a_place_comes_back_after_an_error() -> None:
    share = FairShare(2)

    def fail() -> None:
        with acting_for(Requester("a", share)):
            current_requester().occupy()
            raise ValueError("told to")

    with pytest.raises(ValueError, match="told to"):
        fail()
    assert share.free == 2
