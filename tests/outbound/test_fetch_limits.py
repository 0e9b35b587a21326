"""Fetches by requester and host: how many at a time, and when a host is asked again."""

from contextlib import ExitStack

import pytest

from outbound import fetch_limits
from outbound.errors import Blocked, TooLarge, Unreachable
from outbound.fetch_limits import FAILURES_TO_OPEN, HOST_FETCHES, CircuitOpen, FetchLimits, HostBusy

URL = "https://host.example/a"


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def fail(limits: FetchLimits, times: int, error: Exception | None = None, who: str = "a") -> None:
    error = error or Unreachable("No.", code="connect_refused")
    for _ in range(times):
        with pytest.raises(type(error)), limits.fetching(who, URL):
            raise error


def test_fetches_at_one_host_are_counted_for_each_requester() -> None:
    limits = FetchLimits()
    with ExitStack() as stack:
        for number in range(HOST_FETCHES):
            stack.enter_context(limits.fetching("a", f"https://HOST.example/{number}"))
        with pytest.raises(HostBusy), limits.fetching("a", URL):
            pass
        for who, url in (
            ("b", URL),
            ("a", "https://other.example"),
            ("a", "https://host.example:8443"),
        ):
            with limits.fetching(who, url):
                pass
    with limits.fetching("a", URL):
        pass


def test_a_host_that_fails_rests_and_is_then_asked_once() -> None:
    clock = Clock()
    limits = FetchLimits(clock)
    fail(limits, FAILURES_TO_OPEN)
    with pytest.raises(CircuitOpen) as open_, limits.fetching("a", URL):
        pass
    assert open_.value.after_s == 15
    with limits.fetching("b", URL):
        pass
    clock.now_s += 15
    with limits.fetching("a", URL), pytest.raises(HostBusy), limits.fetching("a", URL):
        pass
    with limits.fetching("a", URL), limits.fetching("a", URL):  # it answered
        pass


def test_each_pause_is_longer_up_to_two_minutes() -> None:
    clock = Clock()
    limits = FetchLimits(clock)
    fail(limits, FAILURES_TO_OPEN)
    pauses = []
    for _ in range(6):
        with pytest.raises(CircuitOpen) as open_, limits.fetching("a", URL):
            pass
        pauses.append(open_.value.after_s)
        clock.now_s += open_.value.after_s
        fail(limits, 1)
    assert pauses == [15, 30, 60, 120, 120, 120]


def test_failures_at_one_time_are_one_reason_to_pause() -> None:
    clock = Clock()
    limits = FetchLimits(clock)
    started = [limits.fetching("a", URL) for _ in range(HOST_FETCHES)]
    for one in started:
        one.__enter__()
    error = Unreachable("No.", code="read_timeout")
    for one in started:
        assert not one.__exit__(Unreachable, error, None)
    with pytest.raises(CircuitOpen) as open_, limits.fetching("a", URL):
        pass
    assert open_.value.after_s == 15


def test_what_is_no_failure_of_the_host() -> None:
    limits = FetchLimits()
    fail(limits, 20, Blocked())
    fail(limits, 20, TooLarge(5))
    for _ in range(20):
        fail(limits, FAILURES_TO_OPEN - 1)
        with limits.fetching("a", URL):
            pass


def test_hosts_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_limits, "HOSTS_MAX", 3)
    limits = FetchLimits()
    for number in range(20):
        with limits.fetching("a", f"https://h{number}.example"):
            pass
    assert len(limits._hosts) == 0
    for number in range(20):
        with pytest.raises(Unreachable), limits.fetching("a", f"https://h{number}.example"):
            raise Unreachable("No.", code="dns_error")
    assert len(limits._hosts) == 3


def test_a_url_that_cannot_be_read_is_counted_as_well() -> None:
    limits = FetchLimits()
    with limits.fetching("a", "https://[::1"), limits.fetching("a", "http://h.example:99999999"):
        pass
