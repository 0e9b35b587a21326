"""What is shown of jobs to those who may read, but not secrets and credentials (AU-12).

Members of objects whose names say that their values are secret, and credentials wherever they
are, show as `***`; in texts, whatever looks like one of them. `read:sensitive` shows everything,
and that somebody looked is in the audit record.
"""

import re
from typing import Any

import orjson
from aiohttp import web

from gateway.keys import REDIS
from gateway.principal import LOCAL, Scope, principal_of
from gateway.tenancy import deed_of
from schemas.job import JobView
from streams import audit

MASK = "***"
_NAMES = r"password|passwd|secret|token|authorization|api[-_]?key|private.?key|cookie|vc_?jwt"
_SECRET = re.compile(_NAMES, re.IGNORECASE)
# Tokens of three parts or five, with disclosures behind them. What is cut off hides as well, and
# `#` is what stands for a number in the causes of dead letters.
_JWT = r"(?<![\w-])eyJ[\w#-]{5,}(?:\.[\w#-]*){0,4}(?:~[\w#-]*)*"
_IN_TEXT = re.compile(
    rf"{_JWT}"
    r"|cs_[a-z]{2,8}_[0-9A-Za-z]{12}_[0-9A-Za-z]{6,}"
    r"|wh(?:sec|sk)_[A-Za-z0-9+/=#]{6,}"
    r"|(?<=Bearer )[A-Za-z0-9._~+/=#-]{8,}|(?<=Basic )[A-Za-z0-9+/=#]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)
_ASSIGNED = re.compile(
    rf"((?:{_NAMES})\\?[\"']?\s*[=:]\s*)"
    r"(?:\\\"[^\"]*\"?|\"[^\"]*\"?|'[^']*'?|[^\s\"',;&\\]+)",
    re.IGNORECASE,
)
DEPTH_MAX = 128
_HINTS = (
    *("passw", "secret", "token", "authorization", "api-key", "api_key", "apikey", "private"),
    *("cookie", "vcjwt", "vc_jwt", "eyj", "cs_", "whs", "bearer ", "basic ", "-----begin"),
)
"""Part of everything that the patterns above find, in small letters."""
_UNUSUAL = ("\u0130", "\u0131", "\u017f", "\u212a")
"""Letters that a pattern without case takes for `i`, `s` and `k`."""


def redacted(value: Any) -> Any:
    """The same document with `***` for what is secret."""
    if isinstance(value, list):  # of jobs: mostly harmless ones
        return [item if _is_harmless(item) else _masked(item, 1) for item in value]
    return value if _is_harmless(value) else _masked(value, 0)


def _is_harmless(value: Any) -> bool:
    """Whether a look at its text shows that nothing in it can be secret, as in most jobs: a tenth
    of the work of going through it."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        return False
    if text.count("{") + text.count("[") >= DEPTH_MAX:
        return False
    if not text.isascii() and any(letter in text for letter in _UNUSUAL):
        return False
    text = text.lower()
    return not any(hint in text for hint in _HINTS)


def _masked(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redacted_text(value)
    if depth >= DEPTH_MAX:
        return MASK
    if isinstance(value, dict):
        return {
            name: MASK if _is_secret(name, item) else _masked(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, depth + 1) for item in value]
    return value


def redacted_text(text: str) -> str:
    """A text with `***` for whatever looks like a credential or follows the name of a secret."""
    return _ASSIGNED.sub(rf"\1{MASK}", _IN_TEXT.sub(MASK, text))


async def shown(request: web.Request, target: str, value: Any) -> Any:
    """What this principal gets to see of a document about `target`; a full view is recorded when
    it shows more."""
    principal = principal_of(request)
    if principal is LOCAL:
        return value  # to whom everything is shown, without a record
    masked = redacted(value)
    if Scope.SENSITIVE in principal.scopes and masked != value:
        seen = deed_of(request, "job.read_sensitive", target, principal.organization_id)
        await audit.record(request.app[REDIS], seen)
        return value
    return masked


def job_document(request: web.Request, job: JobView) -> dict[str, Any]:
    """A job as JSON: what tells organizations apart is for the platform only."""
    hidden = None if principal_of(request).is_platform else {"ref", "organization_id"}
    return job.model_dump(by_alias=True, exclude=hidden)


async def job_shown(request: web.Request, job: JobView) -> dict[str, Any]:
    """One job as this principal gets to see it."""
    target = f"{job.queue}/{job.id}"
    view: dict[str, Any] = await shown(request, target, job_document(request, job))
    return view


async def jobs_shown(request: web.Request, queue: str, jobs: list[JobView]) -> list[dict[str, Any]]:
    """Jobs of a list; one record for all of them."""
    views = [job_document(request, job) for job in jobs]
    masked: list[dict[str, Any]] = await shown(request, queue, views)
    return masked


def _is_secret(name: Any, value: Any) -> bool:
    """A member that is called like a secret and has something in it to hide."""
    hides = value is not None and not isinstance(value, bool)
    return hides and isinstance(name, str) and _SECRET.search(name) is not None
