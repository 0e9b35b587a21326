"""Sessions that end while a form is half filled in: nothing is done, and nothing is lost."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from identity_provider import identity_provider
from playwright.async_api import Browser, Page, expect

from streams import Queue, Redis
from tests.dashboard.conftest import make_key
from tests.dashboard.signing_on import signing_on

AGAIN = "What you had filled in is here again."


async def fill_in(page: Page) -> None:
    """The form of a job, not sent yet."""
    await page.get_by_label("to", exact=True).fill("ann@example.com")
    await page.get_by_label("context").fill('{"half": ')
    await page.get_by_text("Name and options").click()
    await page.get_by_label("priority").fill("3")


async def expect_filled_in(page: Page) -> None:
    await expect(page.locator("#notes")).to_contain_text(AGAIN)
    await expect(page.get_by_label("to", exact=True)).to_have_value("ann@example.com")
    await expect(page.get_by_label("context")).to_have_value('{"half": ')
    await expect(page.get_by_label("priority")).to_have_value("3")


async def test_a_provider_that_confirms_gives_the_form_back(
    redis: Redis, raw: Any, browser: Browser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with (
        identity_provider() as provider,
        signing_on(redis, provider, monkeypatch, tmp_path) as address,
    ):
        provider.claims = {"roles": ["platform", "operator", "submitter"]}
        page = await browser.new_page()
        await page.goto(f"{address}/dashboard/add/emails")
        await page.get_by_role("link", name="Sign in with 127.0.0.1").click()
        await page.get_by_role("link", name="Yes").click()
        await fill_in(page)
        (key,) = raw.keys("cs:session:*")
        raw.set(key, orjson.dumps(orjson.loads(raw.get(key)) | {"again_ms": 1}), keepttl=True)
        await page.get_by_role("button", name="Add the job").click()
        await page.get_by_role("link", name="Yes").click()
        await expect_filled_in(page)
        await page.reload()
        await expect(page.get_by_label("to", exact=True)).to_have_value("")
    assert (await Queue("emails", redis).counts()).total == 0


async def test_signing_in_again_gives_the_form_back_to_nobody_else(
    redis: Redis, raw: Any, browser: Browser, address: str
) -> None:
    keys = [await make_key(redis, "read", "submit"), await make_key(redis, "submit")]
    page = await browser.new_page()
    await page.goto(f"{address}/dashboard/add/emails")
    for key, again in ((keys[0], False), (keys[0], True), (keys[1], False)):
        await page.fill("#credential", key)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("h1")).to_have_text("Add a job to emails")
        if again:
            await expect_filled_in(page)
        else:
            await expect(page.get_by_label("to", exact=True)).to_have_value("")
            await fill_in(page)
        raw.delete(*raw.keys("cs:session:*"))
        await page.get_by_role("button", name="Add the job").click()
        await expect(page.locator(".callout").first).to_contain_text("Your session has ended.")
        await expect(page.locator("#notes")).to_contain_text("Nothing was done.")
    await page.close()
