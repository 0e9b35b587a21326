"""What the page of a job does beside the plain actions: verify a credential, replay a callback."""

import base64
import re

import orjson
from by_hand import Hand
from playwright.async_api import Browser, expect
from stage import spec_of

from consumers.relay import Relay
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis
from tests.dashboard.browser import Watched
from tests.dashboard.conftest import make_key

ORG = "acme-energy"


def credential() -> str:
    """Looks like one; nobody verifies it here."""
    parts = ({"alg": "EdDSA", "typ": "vc+jwt"}, {"issuer": "did:web:issuer.example", "x": "<b>"})
    texts = [base64.urlsafe_b64encode(orjson.dumps(one)).rstrip(b"=").decode() for one in parts]
    return ".".join((*texts, "c2lnbmF0dXJl"))


async def issued(redis: Redis) -> None:
    """A completed job of vc-issuance with a credential in its result."""
    queue, hand = Queue(spec_of("vc-issuance"), redis), Hand(redis, spec_of("vc-issuance"))
    data = {"organizationId": ORG, "userId": "ann"}
    await queue.add_many([NewJob("issue", data, JobOptions(job_id="issued"))], checked=True)
    await hand.complete(await hand.take_one(), result={"vcJwt": credential(), "credentialId": "c"})


async def signed_in(browser: Browser, address: str, key: str) -> Watched:
    watched = Watched(await (await browser.new_context()).new_page(), address)
    await watched.open("/dashboard/login")
    await watched.page.fill("#credential", key)
    async with watched.page.expect_navigation():
        await watched.page.click("button[type=submit]")
    return watched


async def test_a_credential_is_verified_from_its_job(
    browser: Browser, address: str, redis: Redis
) -> None:
    await issued(redis)
    watched = Watched(await (await browser.new_context()).new_page(), address)
    page = watched.page
    await watched.open("/dashboard/queue/vc-issuance/job/issued")
    await expect(page.get_by_text("Decoded, not verified.")).to_be_visible()
    await expect(page.locator("pre").filter(has_text="did:web:issuer.example")).to_be_visible()
    assert await watched.barriers() == []
    await watched.picture("job-credential")
    await page.get_by_role("button", name="Verify this credential").click()
    await page.wait_for_url("**/dashboard/queue/vc-verification/job/*")
    await expect(page.locator("#notes")).to_contain_text("It is being verified.")
    hand = Hand(redis, spec_of("vc-verification"))
    claim = await hand.take_one()
    assert claim.job.data == {"vcJwt": credential(), "organizationId": ORG, "userId": "ann"}
    await hand.complete(claim, result={"valid": False, "errors": ["signature"]})
    await expect(page.locator(".state-completed").first).to_be_visible(timeout=15_000)
    await expect(page.locator("[data-json$=returnvalue]")).to_contain_text("valid")
    assert watched.faults == []


async def test_who_may_not_see_a_credential_cannot_have_it_verified(
    browser: Browser, address: str, redis: Redis
) -> None:
    await issued(redis)
    key = await make_key(redis, "read", "submit", "operate", organization_id=ORG)
    watched = await signed_in(browser, address, key)
    await watched.open("/dashboard/queue/vc-issuance/job/issued")
    await expect(watched.page.locator("[data-json$=returnvalue]")).to_contain_text("***")
    assert await watched.page.get_by_role("button", name="Verify this credential").count() == 0
    assert credential() not in await watched.page.content()
    assert watched.faults == []


async def test_a_callback_is_replayed_from_the_job_it_tells_of(
    browser: Browser, address: str, redis: Redis
) -> None:
    spec = QueueSpec("reports")
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    await queue.register()
    options = JobOptions(job_id="one", callback_url="https://hooks.acme-energy.example/in")
    await queue.add_many([NewJob("report", {"organizationId": ORG}, options)])
    await hand.fail(await hand.take_one())
    relay = Relay(spec, redis)
    await relay.pass_on()
    await queue.revive("one")
    await hand.fail(await hand.take_one())
    await relay.pass_on()
    webhooks, postman = Queue("webhooks", redis), Hand(redis, spec_of("webhooks"))
    done, failed = await postman.take(2)
    await postman.complete(done, result={"status": 200})
    await postman.fail(failed)
    watched = Watched(await (await browser.new_context()).new_page(), address)
    page = watched.page
    await watched.open("/dashboard/queue/reports/job/one")
    rows = page.locator("section", has_text="Callbacks").locator(".row")
    await expect(rows).to_have_count(2)
    assert await rows.nth(0).get_by_role("button").count() == 0
    await watched.picture("job-callbacks")
    async with page.expect_navigation():
        await rows.nth(1).get_by_role("button", name="Replay").click()
    await expect(rows.nth(1)).to_contain_text("waiting")
    again = await webhooks.get(failed.job.id)
    assert again is not None
    assert again.state is State.WAITING
    await rows.nth(1).get_by_role("link").click()
    await expect(page.locator("h1")).to_have_text(failed.job.id)
    assert watched.faults == []


async def test_a_large_document_that_does_not_come_says_so(
    browser: Browser, address: str, redis: Redis
) -> None:
    await Queue("reports", redis).register()
    await Queue("reports", redis).add("report", {"big": "x" * 20_000}, job_id="big")
    page = await browser.new_page()
    await page.route("**/part/data", lambda route: route.abort())
    await page.goto(f"{address}/dashboard/queue/reports/job/big")
    await expect(page.locator("[data-json]")).to_have_text(re.compile("could not be loaded"))
    await page.close()
