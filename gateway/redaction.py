"""What is shown of jobs to those who may read, but not secrets and credentials (AU-12).

Members of objects whose names say that their values are secret, and credentials wherever they
are, show as `***`; in texts, whatever looks like one of them. `read:sensitive` shows everything,
and that somebody looked is in the audit record.
"""

import re
from typing import Any

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


def redacted(value: Any, depth: int = 0) -> Any:
    """The same document with `***` for what is secret."""
    if isinstance(value, str):
        return redacted_text(value)
    if depth >= DEPTH_MAX:
        return MASK
    if isinstance(value, dict):
        return {
            name: MASK if _is_secret(name, item) else redacted(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item, depth + 1) for item in value]
    return value


def redacted_text(text: str) -> str:
    """A text with `***` for whatever looks like a credential or follows the name of a secret."""
    return _ASSIGNED.sub(rf"\1{MASK}", _IN_TEXT.sub(MASK, text))


async def shown(request: web.Request, target: str, value: Any) -> Any:
    """What this principal gets to see of a document about `target`; a full view is recorded when
    it shows more."""
    masked = redacted(value)
    principal = principal_of(request)
    if Scope.SENSITIVE not in principal.scopes or masked == value:
        return masked
    if principal is not LOCAL:
        seen = deed_of(request, "job.read_sensitive", target, principal.organization_id)
        await audit.record(request.app[REDIS], seen)
    return value


async def job_shown(request: web.Request, job: JobView) -> dict[str, Any]:
    """One job as this principal gets to see it."""
    target = f"{job.queue}/{job.id}"
    view: dict[str, Any] = await shown(request, target, job.model_dump(by_alias=True))
    return view


async def jobs_shown(request: web.Request, queue: str, jobs: list[JobView]) -> list[dict[str, Any]]:
    """Jobs of a list; one record for all of them."""
    views = [job.model_dump(by_alias=True) for job in jobs]
    masked: list[dict[str, Any]] = await shown(request, queue, views)
    return masked


def _is_secret(name: Any, value: Any) -> bool:
    """A member that is called like a secret and has something in it to hide."""
    hides = value is not None and not isinstance(value, bool)
    return hides and isinstance(name, str) and _SECRET.search(name) is not None
