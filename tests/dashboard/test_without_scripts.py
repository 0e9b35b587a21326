"""Pages without JavaScript: what there is to read is there, and nothing is offered in vain."""

import re

from playwright.async_api import Browser, expect
from stage import die

from streams import Queue, Redis


async def test_pages_can_be_read_and_searched(browser: Browser, address: str, redis: Redis) -> None:
    await die(redis, "webhooks", "Boom", "no {n}", 3)
    await Queue("reports", redis).register()
    await Queue("reports", redis).add("report", {"big": "x" * 20_000}, job_id="big")
    context = await browser.new_context(
        java_script_enabled=False, viewport={"width": 390, "height": 800}
    )
    page = await context.new_page()
    await page.goto(f"{address}/dashboard")
    await expect(page.locator(".no-script")).to_be_visible()
    await expect(page.locator("[data-queue=webhooks] [data-count=failed]")).to_have_text("3")
    await page.get_by_role("navigation", name="Pages").get_by_text("Dead letters").click()
    await page.get_by_role("link", name=re.compile("no #")).click()
    await expect(page.get_by_role("heading", name="Boom")).to_be_visible()
    await expect(page.get_by_role("button")).to_have_count(0)
    await page.goto(f"{address}/dashboard/queue/webhooks?state=failed")
    await page.get_by_label("Error text or code").fill("no 1")
    await page.get_by_role("button", name="Search").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.get_by_role("button")).to_have_text(["Search"])
    await page.goto(f"{address}/dashboard/queue/reports/job/big")
    await page.get_by_role("link", name="Open the whole document as JSON").click()
    await expect(page.locator("body")).to_contain_text("xxxx")
    await context.close()
