"""The pages beside the queues in a browser: every action with the keyboard and the mouse."""

import back_office as office
import pytest
from playwright.async_api import expect

from streams import Queue, Redis, access, mail
from streams import destinations as store
from tests.dashboard.browser import Watched
from tests.dashboard.test_office import ORG

pytestmark = pytest.mark.usefixtures("ring")


async def test_faults_stand_beside_the_fields(seen: Watched, redis: Redis) -> None:
    await seen.open("/dashboard/add/emails")
    page = seen.page
    await page.get_by_label("to", exact=True).fill("nobody")
    await page.get_by_label("template").fill("welcome")
    await page.get_by_label("organizationId").fill(ORG)
    await page.get_by_label("context").fill("{")
    await page.get_by_label("context").press("Tab")
    await page.get_by_role("button", name="Add the job").press("Enter")
    fault = page.locator(".fault")
    await expect(fault).to_have_count(1)
    await expect(fault).to_contain_text("is not JSON")
    await expect(page.get_by_label("context")).to_be_focused()
    await expect(page.get_by_label("context")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("context").fill("{}")
    await page.get_by_role("button", name="Add the job").click()
    await expect(fault).to_have_text("must be exactly one address, as name@example.com")
    await seen.picture("office-add-faults")
    await page.get_by_label("to", exact=True).fill("a@example.com")
    await page.get_by_text("Name and options").click()
    await page.get_by_label("jobId").fill("made-here")
    await page.get_by_role("button", name="Add the job").click()
    await page.wait_for_url("**/dashboard/queue/emails/job/%3Amade-here")
    assert (await Queue("emails", redis).get("made-here")) is not None
    # The browser itself says 422 in its console.
    seen.faults = [one for one in seen.faults if "422" not in one]


async def test_a_key_is_shown_once(seen: Watched, redis: Redis) -> None:
    page = seen.page
    await seen.open("/dashboard/keys")
    await page.get_by_label("Name").fill("ci")
    await page.get_by_label("Role").select_option("submitter")
    await page.get_by_label("Expires").fill("2099-12-31")
    await page.get_by_role("button", name="Make the key").click()
    await page.locator("#confirm-yes").click()
    await page.wait_for_selector("#reveal[open]")
    await page.keyboard.press("Escape")  # must not lose it
    text = await page.get_by_label("API key", exact=True).input_value()
    await seen.picture("office-key-once")
    key_id = access.key_id_of(text)
    assert key_id is not None
    record, _ = await access.find(redis, key_id)
    assert record is not None
    assert (record.scopes, record.expires_ms) == (("submit", "read"), 4_102_358_400_000)
    async with page.expect_navigation():
        await page.get_by_role("button", name="I have stored it").press("Enter")
    assert "/login" in page.url, "from the first key on, everybody is asked"
    assert text not in await page.content()


async def test_a_destination_by_mouse(seen: Watched, redis: Redis) -> None:
    to = await office.deliver(redis, ORG, office.ORIGIN, "success")
    await office.try_webhooks(redis, ORG, office.URL)
    page = seen.page
    await seen.open(f"/dashboard/webhooks/{to.id}")
    await page.get_by_role("button", name="Disable").click()
    async with page.expect_navigation():
        await page.locator("#confirm-yes").click()
    await expect(page.locator(".callout.bad")).to_contain_text("Disabled")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Enable").click()
    await page.get_by_label("Deliveries at once").fill("2")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Set limits").click()
    known = await store.find(redis, to.id)
    assert known is not None
    assert (known.state, known.numbers["limit"]) == ("closed", 2)
    await page.get_by_role("button", name="Send again").click()
    await expect(page.locator("#confirm-text")).to_contain_text("1 job matches")
    async with page.expect_navigation():
        await page.locator("#confirm-yes").click()
    await expect(page.locator("#notes")).to_contain_text("1 of 1 deliveries run again.")
    await page.get_by_role("button", name="Rotate").click()
    await page.locator("#confirm-yes").click()
    await page.wait_for_selector("#reveal[open]")
    assert (await page.get_by_label("Signing key", exact=True).input_value()).startswith("whsec_")


async def test_a_suppression_by_mouse(seen: Watched, redis: Redis) -> None:
    page = seen.page
    await seen.open("/dashboard/mail")
    await page.get_by_label("Organization").fill(ORG)
    await page.get_by_label("Organization").press("Enter")
    await page.locator("#f-address").fill("x@example.com")
    await page.get_by_label("For", exact=True).select_option("null")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Suppress").click()
    await page.locator("#check-address").fill("X@example.com")
    await page.get_by_role("button", name="Check").click()
    await expect(page.locator("#notes")).to_contain_text("On the list: manual.")
    await page.get_by_role("button", name="Allow").click()
    async with page.expect_navigation():
        await page.locator("#confirm-yes").click()
    entry = mail.address_id(ORG, "x@example.com")
    assert await mail.suppressed(redis, mail.tenant(ORG), entry) is None


async def test_a_credential_by_mouse(seen: Watched, redis: Redis) -> None:
    await office.issue(redis, ORG)
    page = seen.page
    await seen.open("/dashboard/credentials")
    await page.get_by_label("Id of the credential").fill(office.CREDENTIAL)
    await page.get_by_role("button", name="Look it up").click()
    for button, state in (
        ("Suspend", "suspended"),
        ("Unsuspend", "valid"),
        ("Revoke for good", "revoked"),
    ):
        await page.get_by_role("button", name=button, exact=True).click()
        async with page.expect_navigation():
            if button != "Unsuspend":
                await page.locator("#confirm-yes").click()
        await expect(page.locator(f".state-{state}")).to_be_visible()
