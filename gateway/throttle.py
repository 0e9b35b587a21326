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
WINDOW_S = 60.0
NAMES_MAX = 10_000
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
QUOTA = web.RequestKey("quota", access.Quota)


class TooManyFailures(Refusal):
    """Wrong credentials again and again."""

    kind = Kind(429, "too_many_failures", "Too many wrong credentials")


class QuotaExceeded(Refusal):
    """More requests than somebody may make in a window."""

    kind = Kind(429, "quota_exceeded", "The quota is used up", type=QUOTA_EXCEEDED)


class Window:
    """Counts by name and minute, in this process, bounded in memory: those that were counted
    longest ago are forgotten first."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When the minute of a name began, and its count."""

    def add(self, name: str) -> int:
        """Count one more; how many there are now."""
        began_s, count = self._of(name)
        self._seen[name] = (began_s, count + 1)
        self._seen.move_to_end(name)
        if len(self._seen) > NAMES_MAX:
            self._seen.popitem(last=False)
        return count + 1

    def count(self, name: str) -> int:
        """How many there are in this minute."""
        return self._of(name)[1]

    def left_s(self, name: str) -> int:
        """Seconds until its minute ends, at least 1."""
        return max(1, math.ceil(self._of(name)[0] + WINDOW_S - self._clock_s()))

    def _of(self, name: str) -> tuple[float, int]:
        now_s = self._clock_s()
        began_s, count = self._seen.get(name, (now_s, 0))
        return (now_s, 0) if now_s >= began_s + WINDOW_S else (began_s, count)


class Failures:
    """Wrong credentials per minute: of one credential from one network, which locks this pair, and
    of a network in all, which locks nobody: behind a proxy that is not trusted all clients share
    one address. A network that fails often is told so, and its failures are not logged any more.

    The public part of a credential tells one from another: the id of an API key, the claims of a
    token."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._networks, self._pairs = Window(clock_s), Window(clock_s)

    def add(self, network: str, public_part: str) -> None:
        """Count a failure. Raises TooManyFailures when the network has failed often before."""
        is_noisy = self._networks.count(network) >= FAILURES_MAX
        self._networks.add(network)
        self._pairs.add(f"{network} {public_part}")
        if is_noisy:
            raise _too_many(self._networks.left_s(network))

    def check(self, network: str, public_part: str) -> None:
        """Raises TooManyFailures when this credential has failed too often from there."""
        pair = f"{network} {public_part}"
        if self._pairs.count(pair) >= FAILURES_MAX:
            raise _too_many(self._pairs.left_s(pair))


def _too_many(left_s: int) -> TooManyFailures:
    refusal = TooManyFailures(
        f"More than {FAILURES_MAX} requests from your address had no valid credential within "
        f"{WINDOW_S:.0f} s. Try again in {left_s} s."
    )
    refusal.headers = {"Retry-After": str(left_s)}
    return refusal


class TooManyPublicRequests(Refusal):
    """More requests to public routes than one address may make in a minute."""

    kind = Kind(429, "too_many_requests", "Too many requests")


PUBLIC_POSTS = web.AppKey("public_posts", Window)


def count_public_post(request: web.Request, network: str) -> None:
    """Count a POST to a public route. Raises TooManyPublicRequests."""
    limit, window = request.app[SETTINGS].public_posts_per_minute, request.app[PUBLIC_POSTS]
    if limit and window.add(network) > limit:
        left_s = window.left_s(network)
        refusal = TooManyPublicRequests(
            f"{limit} such requests in {WINDOW_S:.0f} s may come from one address. "
            f"Try again in {left_s} s."
        )
        refusal.headers = {"Retry-After": str(left_s)}
        raise refusal


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
