"""Workers, webhooks, mail, DIDs, credentials, audit, API keys: what pages show and actions do."""

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import back_office as office
import pytest
from aiohttp import ClientSession

from streams import Queue, Redis, access, audit, mail, schedules
from streams import destinations as store
from tests.dashboard.conftest import make_key, signed_in

ORG = office.ORG
HTML = {"Accept": "text/html"}
EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(1)</script>"
BYTES_MAX = 200_000


pytestmark = pytest.mark.usefixtures("ring")


async def seen(http: ClientSession, path: str, status: int = 200) -> str:
    """A page, which is small and holds nothing that a browser would run."""
    async with http.get(path, headers=HTML) as answer:
        text = await answer.text()
        assert answer.status == status, text[-2_000:]
        assert len(text.encode()) < BYTES_MAX
        assert "<img" not in text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=\"", text)
        return text


async def act(http: ClientSession, path: str, **body: Any) -> dict[str, Any]:
    async with http.post(path, json=body) as answer:
        document = await answer.json(content_type=None)
        assert answer.status == 200, document
        data: dict[str, Any] = document["data"]
        return data


async def faults(http: ClientSession, path: str, **body: Any) -> dict[str, str]:
    async with http.post(path, json=body) as answer:
        document = await answer.json(content_type=None)
        assert answer.status == 422, document
        return {one["pointer"]: one["detail"] for one in document["errors"]}


async def last_deed(redis: Redis) -> str:
    (record,) = (await audit.page(redis, None, 1, lambda _: True)).found
    return str(record.deed["action"])


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_workers_alive_silent_and_missing(http: ClientSession, redis: Redis) -> None:
    now = now_ms()
    running = {f"job-{n}": now - 1_000 * n for n in range(7)}
    await office.appear(redis, "emails", "busy", now, host="a.example", slots=10, running=running)
    await office.appear(redis, "webhooks", "lost", now - 20_000, host=EVIL, slots=4, running={})
    data = {"vcJwt": "x", "organizationId": ORG, "userId": "u"}
    await Queue("vc-verification", redis).add("v", data)
    text = await seen(http, "/dashboard/workers")
    assert "7 of 10" in text
    assert "state-alive" in text
    assert "state-silent" in text
    assert re.search(r"nobody works:</strong>\s*<a[^>]*>vc-verification</a> \(1\)", text)
    assert "and 4 more" in text
    assert "&lt;img src=x" in text
    only = await seen(http, "/dashboard/workers?queue=emails")
    assert "busy" in only
    assert "lost" not in only
    await seen(http, "/dashboard/workers?queue=nowhere", 404)


async def test_many_workers_are_bounded(http: ClientSession, redis: Redis) -> None:
    for n in range(400):
        jobs = {f"job-{'x' * 90}-{i}": now_ms() for i in range(200)}
        await office.appear(redis, "emails", f"worker-{n}", now_ms(), slots=200, running=jobs)
    assert "300 more are not shown" in await seen(http, "/dashboard/workers")


async def test_a_destination_is_switched_limited_and_replayed(
    http: ClientSession, redis: Redis
) -> None:
    to = await office.deliver(redis, ORG, office.ORIGIN, "success", "failure", "success")
    await office.try_webhooks(redis, ORG, office.URL, EVIL)
    lately = await seen(http, "/dashboard/webhooks")
    assert office.ORIGIN in lately
    assert f"/dashboard/webhooks/{to.id}" in lately
    assert f"/dashboard/webhooks?organizationId={ORG}" in lately
    await act(http, "/dashboard/webhooks/settings", organizationId=ORG, schedule="durable")
    assert await schedules.chosen(redis, ORG) == "durable"
    assert office.ORIGIN in await seen(http, f"/dashboard/webhooks?organizationId={ORG}")
    at = f"/dashboard/webhooks/{to.id}"
    text = await seen(http, at)
    assert all(f">hook-{n}</a>" in text for n in range(3))
    assert "http_503" in text
    assert "192.0.2.7" in text
    assert "&lt;img src=x" in text

    await act(http, at + "/disable")
    known = await store.find(redis, to.id)
    assert known is not None
    assert known.state == "disabled"
    assert await last_deed(redis) == "destination.disable"
    assert "Enable" in await seen(http, at)
    await act(http, at + "/enable")
    await act(http, at + "/limits", concurrency=3, rate={"max": 9, "duration": 1000})
    known = await store.find(redis, to.id)
    assert known is not None
    assert (known.state, known.numbers["limit"], known.numbers["rate_max"]) == ("closed", 3, 9)
    assert await faults(http, at + "/limits", concurrency=0, rate={"duration": 5}) == {
        "/concurrency": "must be at least 1",
        "/rate/max": "is required",
    }
    again = {"origin": to.origin, "organizationId": ORG, "hours": 1}
    assert (await act(http, "/dashboard/webhooks/replay", **again, dryRun=True))["count"] == 1
    assert "1 of 1" in (await act(http, "/dashboard/webhooks/replay", **again))["message"]
    assert await last_deed(redis) == "webhook.replay"
    assert (await act(http, "/dashboard/webhooks/replay", **again, dryRun=True))["count"] == 0


async def test_a_destination_that_is_gone_says_when_and_why(
    http: ClientSession, redis: Redis
) -> None:
    to = await office.deliver(redis, ORG, office.ORIGIN, "gone")
    async with http.get(f"/webhooks/destinations/{to.id}") as answer:
        known = (await answer.json())["data"]
    assert known["lastFailureAt"] is not None
    assert "it answered 410 Gone" in await seen(http, f"/dashboard/webhooks/{to.id}")


async def test_a_rotated_key_is_shown_once(http: ClientSession, redis: Redis) -> None:
    await office.deliver(redis, ORG, office.ORIGIN, "success")
    body = {"organizationId": ORG, "origin": office.URL}
    told = await act(http, "/dashboard/webhooks/secret/rotate", **body)
    (value,) = told["secret"]["values"]
    assert value["value"].startswith("whsec_")
    assert await last_deed(redis) == "webhook.secret.rotate"
    told = await act(http, "/dashboard/webhooks/secret/rotate", **body, kind="ed25519")
    assert [one["value"][:5] for one in told["secret"]["values"]] == ["whpk_"]
    page = await seen(http, f"/dashboard/webhooks?organizationId={ORG}")
    assert "whsec_" not in page


async def test_suppressions_come_and_go(http: ClientSession, redis: Redis) -> None:
    entry = await office.suppress(redis, ORG, "a@example.com", EVIL, 30)
    page = f"/dashboard/mail?organizationId={ORG}"
    assert entry[:12] in await seen(http, page)
    check = {"organizationId": ORG, "address": "A@example.com"}
    assert (
        "On the list" in (await act(http, "/dashboard/mail/suppressions/check", **check))["message"]
    )
    await act(http, f"/dashboard/mail/suppressions/{entry}/allow?organizationId={ORG}")
    assert await last_deed(redis) == "mail.allow"
    assert entry[:12] not in await seen(http, page)
    new = {"organizationId": ORG, "address": "b@example.com", "days": None}
    await act(http, "/dashboard/mail/suppressions", **new)
    there = await mail.suppressed(redis, mail.tenant(ORG), mail.address_id(ORG, "b@example.com"))
    assert there is not None
    assert there.until_ms is None
    wrong = {"organizationId": ORG, "address": "nobody", "reason": "a\nb"}
    assert set(await faults(http, "/dashboard/mail/suppressions", **wrong)) == {
        "/address",
        "/reason",
    }


async def test_captured_mail_is_shown_as_text(http: ClientSession, tmp_path: Path) -> None:
    assert "No mail yet" in await seen(http, "/dashboard/mail/captured")
    mail_id = office.capture(tmp_path, EVIL, EVIL + "x" * 150_000)
    assert "&lt;img src=x" in await seen(http, "/dashboard/mail/captured")
    text = await seen(http, f"/dashboard/mail/captured/{mail_id}")
    assert "student@example.com" in text
    assert "the first 40,000 of" in text
    await seen(http, "/dashboard/mail/captured/nothing", 404)


async def test_hosted_dids_and_their_public_keys(http: ClientSession, redis: Redis) -> None:
    did = await office.host_did(redis, ORG, "issuers/acme")
    gone = await office.tombstone(redis, ORG, "issuers/old")
    await office.host_did(redis, "other", "issuers/other")
    text = await seen(http, f"/dashboard/dids?organizationId={ORG}")
    assert did in text
    assert gone in text
    assert "issuers:other" not in text
    text = await seen(http, f"/dashboard/dids/{quote(did, safe='')}")
    assert "P-256" in text
    assert "assertionMethod" in text
    assert "&#34;d&#34;:" not in text, "no private key"
    assert "Deactivated, for good" in await seen(http, f"/dashboard/dids/{quote(gone, safe='')}")
    await seen(http, "/dashboard/dids/did:web:nowhere.example", 404)
    await seen(http, "/dashboard/dids?start=x&organizationId=a", 400)


async def test_a_credential_is_suspended_and_revoked(http: ClientSession, redis: Redis) -> None:
    await office.issue(redis, ORG)
    page = f"/dashboard/credentials?id={quote(office.CREDENTIAL)}"
    at = f"/dashboard/credentials/{quote(office.CREDENTIAL, safe='')}"
    assert "state-valid" in await seen(http, page)
    await act(http, at + "/suspend", reason="lost card")
    assert "state-suspended" in await seen(http, page)
    assert await last_deed(redis) == "credential.suspend"
    await act(http, at + "/unsuspend")
    await act(http, at + "/revoke")
    assert await last_deed(redis) == "credential.revoke"
    text = await seen(http, page)
    assert "A revocation is final" in text
    assert "data-fields" not in text
    async with http.post(at + "/unsuspend", json={}) as answer:
        assert answer.status == 409
    assert "No such credential" in await seen(http, f"/dashboard/credentials?id={quote(EVIL)}")


async def test_audit_is_filtered_and_turned(http: ClientSession, redis: Redis) -> None:
    for n in range(60):
        await audit.record(redis, audit.Deed("ann", f"job.retry.{n % 2}", EVIL, ORG))
    text = await seen(http, "/dashboard/audit?action=&actor=&target=&organizationId=")
    assert text.count("job.retry.") == 50
    older = re.findall(r'rel="next" href="([^"]+)"', text)[0].replace("&amp;", "&")
    assert (await seen(http, older)).count("job.retry.") == 10
    found = await seen(http, "/dashboard/audit?action=job.retry.1&actor=ann")
    assert found.count('<strong class="strong">job.retry.1') == 30
    assert "job.retry.0" not in found


async def test_a_key_is_made_shown_once_and_revoked(address: str, redis: Redis) -> None:
    async with signed_in(address, await make_key(redis, "read", "submit", "admin")) as admin:
        body = {"name": EVIL, "role": "submitter", "organizationId": ORG}
        told = await act(admin, "/dashboard/keys", **body)
        text = told["secret"]["values"][0]["value"]
        key_id = access.key_id_of(text)
        assert key_id is not None
        page = await seen(admin, "/dashboard/keys")
        assert key_id in page
        assert text not in page
        assert "operator" not in page, "nobody gives what they do not have"
        await act(admin, f"/dashboard/keys/{key_id}/revoke")
        record, _ = await access.find(redis, key_id)
        assert record is not None
        assert record.revoked_ms is not None
        assert "state-revoked" in await seen(admin, "/dashboard/keys")
        assert set(await faults(admin, "/dashboard/keys", name="", role="viewer")) == {"/name"}
        async with admin.post(
            "/dashboard/keys", json={"name": "more", "scopes": ["operate"]}
        ) as answer:
            assert answer.status == 403


PAGES = ("add", "add/emails", "webhooks", "mail", "dids", "credentials", "audit", "keys")


async def test_a_reader_sees_no_action(address: str, redis: Redis) -> None:
    to = await office.deliver(redis, ORG, office.ORIGIN, "success")
    await office.suppress(redis, ORG, "a@example.com", "bounced", 30)
    await office.issue(redis, ORG)
    async with signed_in(address, await make_key(redis, "read")) as reader:
        for path in (
            f"/dashboard/webhooks?organizationId={ORG}",
            f"/dashboard/webhooks/{to.id}",
            f"/dashboard/mail?organizationId={ORG}",
            f"/dashboard/dids?organizationId={ORG}",
            f"/dashboard/credentials?id={office.CREDENTIAL}",
            "/dashboard/workers",
        ):
            text = await seen(reader, path)
            actions = set(re.findall(r'method="post" action="([^"]*)"', text))
            assert actions <= {"/dashboard/logout", "/dashboard/mail/suppressions/check"}, path
            assert "/dashboard/add" not in text
        for path in ("add", "add/emails", "audit", "keys"):
            await seen(reader, f"/dashboard/{path}", 403)


async def test_an_organization_sees_its_own(address: str, redis: Redis) -> None:
    theirs = await office.deliver(redis, "other", "https://other.example", "success")
    await office.deliver(redis, ORG, office.ORIGIN, "success")
    did = await office.host_did(redis, "other", "issuers/other")
    await office.issue(redis, "other")
    await audit.record(redis, audit.Deed("theirs", "job.retry", "x", "other"))
    scopes = ("read", "operate", "admin", "submit")
    key = await make_key(redis, *scopes, organization_id=ORG)
    async with signed_in(address, key) as tenant:
        text = await seen(tenant, "/dashboard/webhooks")
        assert office.ORIGIN in text
        assert "other.example" not in text
        await seen(tenant, "/dashboard/webhooks?organizationId=other", 403)
        await seen(tenant, f"/dashboard/webhooks/{theirs.id}", 404)
        assert "issuers:other" not in await seen(tenant, "/dashboard/dids?organizationId=other")
        await seen(tenant, f"/dashboard/dids/{quote(did, safe='')}", 404)
        found = await seen(tenant, f"/dashboard/credentials?id={office.CREDENTIAL}")
        assert "No such credential" in found
        assert "theirs" not in await seen(tenant, "/dashboard/audit")
        await seen(tenant, "/dashboard/workers", 403)
        await seen(tenant, "/dashboard/mail/captured", 403)
        for name in PAGES:
            await seen(tenant, f"/dashboard/{name}")
