"""How often somebody may fail, and how often anybody may ask (AU-6, API-19)."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from aiohttp import web

from gateway.errors import Kind, Refusal
from gateway.keys import REDIS, SETTINGS
from gateway.principal import Principal
from streams import access

FAILURES_MAX = 10
FAILURE_WINDOW_S = 60.0
ADDRESSES_MAX = 10_000
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
QUOTA = web.RequestKey("quota", access.Quota)


class TooManyFailures(Refusal):
    """An address that has brought wrong credentials again and again."""

    kind = Kind(429, "too_many_failures", "Too many wrong credentials")


class QuotaExceeded(Refusal):
    """More requests than somebody may make in a window."""

    kind = Kind(429, "quota_exceeded", "The quota is used up", type=QUOTA_EXCEEDED)


class Failures:
    """Wrong credentials per address and minute, in this process. Bounded in memory."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When an address failed first, and how often since."""

    def add(self, address: str | None) -> None:
        """One more from there."""
        began_s, count = self._of(address)
        name = address or ""
        self._seen[name] = (began_s, count + 1)
        self._seen.move_to_end(name)
        if len(self._seen) > ADDRESSES_MAX:
            self._seen.popitem(last=False)

    def check(self, address: str | None) -> None:
        """Raises TooManyFailures."""
        began_s, count = self._of(address)
        if count >= FAILURES_MAX:
            left_s = math.ceil(began_s + FAILURE_WINDOW_S - self._clock_s())
            refusal = TooManyFailures(
                "Too many requests from your address had no valid credential."
            )
            refusal.headers = {"Retry-After": str(max(1, left_s))}
            raise refusal

    def _of(self, address: str | None) -> tuple[float, int]:
        now_s = self._clock_s()
        began_s, count = self._seen.get(address or "", (now_s, 0))
        return (now_s, 0) if now_s >= began_s + FAILURE_WINDOW_S else (began_s, count)


async def charge(request: web.Request, principal: Principal) -> None:
    """Count this request against the quota of its organization, or of its principal.

    Raises QuotaExceeded, Unavailable."""
    settings = request.app[SETTINGS]
    if not settings.rate_limit:
        return
    whose = f"o:{principal.organization_id}"
    if principal.is_platform:
        whose = f"p:{principal.key_id or principal.name}"
    window_ms = settings.rate_limit_window_s * 1_000
    quota = await access.take(request.app[REDIS], whose, settings.rate_limit, window_ms)
    request[QUOTA] = quota
    if not quota.granted:
        refusal = QuotaExceeded(
            f"{settings.rate_limit} requests in {settings.rate_limit_window_s} s are allowed."
        )
        refusal.headers = {"Retry-After": str(_seconds(quota)), **quota_headers(request)}
        raise refusal


def quota_headers(request: web.Request) -> dict[str, str]:
    """RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers), if limited."""
    quota: access.Quota | None = request.get(QUOTA)
    if quota is None:
        return {}
    settings = request.app[SETTINGS]
    return {
        "RateLimit-Policy": f'"default";q={settings.rate_limit};w={settings.rate_limit_window_s}',
        "RateLimit": f'"default";r={quota.left};t={_seconds(quota)}',
    }


def _seconds(quota: access.Quota) -> int:
    return max(1, math.ceil(quota.reset_ms / 1_000))
