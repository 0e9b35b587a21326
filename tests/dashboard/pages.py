"""Every page of the dashboard, with something on it: what the tests over all pages go through."""

from pathlib import Path
from urllib.parse import quote

import back_office as office
from back_office import ORG
from stage import set_stage

from gateway.dashboard.causes import Library
from streams import Queue, Redis, audit
from streams.canaries import Canary, keep
from tests.dashboard.test_job_browser import issued
from tests.dashboard.test_office import now_ms
from tests.dashboard.test_pages import evil_job

NO_PAGE = (
    *("/static/", "/live", "/minutes", "/state", "/events", "/part/"),
    *("/login/provider", "/login/return"),
)
"""What a GET of the dashboard answers beside pages."""


async def every_page(redis: Redis, folder: Path, word: str = "Your diploma") -> dict[str, str]:
    """By name; `word` stands wherever somebody else's text can stand."""
    await evil_job(redis, word)
    await issued(redis)
    await set_stage(redis, share=0.002)
    queue = Queue("reports", redis)
    (cause,) = (await Library().of(queue.store)).causes
    canary = Canary("0123456789abcdef", "reports", cause.fingerprint, cause.jobs, word, now_ms())
    await keep(redis, canary)
    waiting = await queue.add("report", {"organizationId": word, "subject": word}, delay=9_000_000)
    evil = quote(cause.jobs[0], safe="")
    return {
        "login": "/dashboard/login",
        "overview": "/dashboard",
        "queue": "/dashboard/queue/webhooks",
        "queue-failed": "/dashboard/queue/reports?state=failed",
        "queue-empty": f"/dashboard/queue/reports?state=failed&q={quote(word)}&org={quote(word)}",
        "dead": "/dashboard/dead",
        "dead-queue": "/dashboard/dead?queue=webhooks",
        "cause": f"/dashboard/dead/reports/{cause.fingerprint}",
        "canary": f"/dashboard/dead/reports/canary/{canary.id}",
        "job": f"/dashboard/queue/reports/job/{evil}",
        "job-waiting": f"/dashboard/queue/reports/job/{waiting.id}",
        "job-credential": "/dashboard/queue/vc-issuance/job/issued",
        "nowhere": f"/dashboard/queue/{quote(word, safe='')}",
        "webhooks-empty": "/dashboard/webhooks?organizationId=nobody",
        "webhooks-lately": "/dashboard/webhooks",
        "mail-empty": "/dashboard/mail?organizationId=nobody",
        "dids-empty": "/dashboard/dids?organizationId=nobody",
        "credentials": f"/dashboard/credentials?id={quote(word)}",
        **await office_pages(redis, folder, word),
        "add-form": "/dashboard/add/emails",
    }


async def office_pages(redis: Redis, folder: Path, word: str = "Your diploma") -> dict[str, str]:
    """Something on every page; answers the pages."""
    now = now_ms()
    for n in range(5):
        jobs = {f"job-{n}-{i}": now - 900 * i for i in range(2 * n)}
        await office.appear(
            redis, "emails", f"node-{n}.1", now, host=f"node-{n}", slots=8, running=jobs
        )
    await office.appear(redis, "webhooks", "node-9.1", now - 30_000, host="node-9", slots=8)
    to = await office.deliver(redis, ORG, office.ORIGIN, *["success"] * 9, "failure", "failure")
    bad = await office.deliver(redis, ORG, "https://erp.acme-energy.example:8443", "gone")
    await office.deliver(redis, ORG, "https://slow.acme-energy.example", *["failure"] * 12)
    await office.try_webhooks(redis, ORG, office.URL, word)
    for name, reason in (("a", "hard bounce"), ("b", word), ("c", "complaint")):
        await office.suppress(redis, ORG, f"{name}@example.com", reason, 30)
    mail_id = office.capture(folder, word, f"Dear student,\n\n{word} is ready.\n")
    did = await office.host_did(redis, ORG, "issuers/acme")
    await office.tombstone(redis, ORG, "issuers/old")
    await office.issue(redis, ORG)
    for n, verb in enumerate(("queue.pause", "job.retry", "credential.revoke")):
        said = {"jobs": n, "reason": word}
        await audit.record(redis, audit.Deed("ann", verb, f"emails/{n}", ORG, parameters=said))
    return {
        "workers": "/dashboard/workers",
        "webhooks": f"/dashboard/webhooks?organizationId={ORG}",
        "webhook": f"/dashboard/webhooks/{to.id}",
        "webhook-disabled": f"/dashboard/webhooks/{bad.id}",
        "mail": f"/dashboard/mail?organizationId={ORG}",
        "captured": "/dashboard/mail/captured",
        "message": f"/dashboard/mail/captured/{mail_id}",
        "dids": f"/dashboard/dids?organizationId={ORG}",
        "did": f"/dashboard/dids/{quote(did, safe='')}",
        "credential": f"/dashboard/credentials?id={office.CREDENTIAL}",
        "audit": "/dashboard/audit",
        "keys": "/dashboard/keys",
        "add": "/dashboard/add",
        "add-webhooks": "/dashboard/add/webhooks?from=hook-1",
    }
