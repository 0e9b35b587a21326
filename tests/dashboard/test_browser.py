"""The dashboard in a browser: every page, every action; no barrier, no error, no foreign host."""

import asyncio

import pytest
from by_hand import Hand
from playwright.async_api import Browser, Page, expect
from stage import die

from schemas.job import State
from schemas.spec import QueueSpec
from streams import Queue, Redis
from tests.dashboard.browser import Watched
from tests.dashboard.conftest import make_key


async def confirm(page: Page) -> str:
    """Say yes; answers what was asked."""
    await page.wait_for_selector("#confirm[open]")
    text = await page.inner_text("#confirm-text")
    async with page.expect_navigation():
        await page.click("#confirm-yes")
    return text


async def test_pause_resume_limits_clean(seen: Watched, redis: Redis) -> None:
    queue, page = Queue("webhooks", redis), seen.page
    await die(redis, "webhooks", "Boom", "no", 3)
    await seen.open("/dashboard/queue/webhooks")
    await page.click("text=Pause")
    await confirm(page)
    assert (await queue.counts()).paused
    async with page.expect_navigation():
        await page.click("text=Resume")
    assert not (await queue.counts()).paused
    await page.click("text=Limits")
    await page.fill("#max", "50")
    await page.fill("#duration", "1000")
    await page.fill("#concurrency", "7")
    async with page.expect_navigation():
        await page.click("#limits >> text=Save")
    counts = await queue.counts()
    assert counts.limiter is not None
    assert (counts.limiter.max, counts.limiter.duration, counts.concurrency) == (50, 1000, 7)
    await page.click("text=Clean")
    await page.select_option("#clean-state", "failed")
    await page.fill("#grace", "0")
    async with page.expect_navigation():
        await page.click("#clean >> text=Remove them")
    assert (await queue.counts()).failed == 0


async def test_ticked_jobs_are_removed_and_all_that_match_retried(
    seen: Watched, redis: Redis
) -> None:
    queue, page = Queue("webhooks", redis), seen.page
    await die(redis, "webhooks", "Boom", "no {n}", 40)
    await seen.open("/dashboard/queue/webhooks?state=failed")
    boxes = page.locator("input[data-list]")
    await boxes.nth(0).check()
    await boxes.nth(1).check()
    await expect(page.locator("[data-count]")).to_have_text("2 selected")
    await page.click("button:has-text('Remove')")
    assert "2 jobs" in await confirm(page)
    assert (await queue.counts()).failed == 38
    await page.fill("input[name=error]", "Boom")
    async with page.expect_navigation():
        await page.click("form[role=search] >> text=Search")
    await page.check("[data-every]")
    await page.click("button:has-text('Retry')")
    assert "38 jobs" in await confirm(page)
    assert (await queue.counts()).waiting == 38


async def test_a_canary_and_the_rest(seen: Watched, redis: Redis) -> None:
    page, hand = seen.page, Hand(redis, QueueSpec("webhooks"))
    await die(redis, "webhooks", "Boom", "no {n}", 40)
    await seen.open("/dashboard/dead")
    await page.click(".cause-message a")
    await page.click("text=Redrive a canary")
    assert "2 jobs" in await confirm(page)
    await expect(page.locator(".callout")).to_contain_text("Running")
    async with page.expect_navigation():
        await hand.complete(*await hand.take(10), result=1)
    await expect(page.locator(".callout")).to_contain_text("Passed")
    await page.click("text=Go on: redrive")
    await confirm(page)
    assert (await Queue("webhooks", redis).counts()).failed == 0


@pytest.mark.parametrize(
    ("state", "button", "becomes"),
    [
        (State.FAILED, "Retry", State.WAITING),
        (State.DELAYED, "Promote", State.WAITING),
        (State.WAITING, "Cancel", State.FAILED),
        (State.WAITING, "Remove", None),
    ],
)
async def test_actions_of_a_job(
    seen: Watched, redis: Redis, state: State, button: str, becomes: State | None
) -> None:
    queue, page = Queue("reports", redis), seen.page
    hand = Hand(redis, QueueSpec("reports"))
    await queue.register()
    delay = 3_600_000 if state is State.DELAYED else 0
    await queue.add("work", {"n": 1}, job_id="one", delay=delay)
    if state is State.FAILED:
        await hand.fail(*await hand.take(1))
    await seen.open("/dashboard/queue/reports/job/one")
    await page.click(f".button:has-text('{button}')")
    await confirm(page)
    job = await queue.get("one")
    assert (job.state if job else None) == becomes


async def test_priority_and_why(seen: Watched, redis: Redis) -> None:
    queue, page = Queue("reports", redis), seen.page
    await queue.register()
    await queue.add("work", {"n": 1}, job_id="one")
    await seen.open("/dashboard/queue/reports/job/one")
    await expect(page.locator(".callout")).to_contain_text("No worker of this queue is alive")
    await page.select_option("#priority", "1")
    async with page.expect_navigation():
        await page.click("text=Set")
    job = await queue.get("one")
    assert job is not None
    assert job.opts["priority"] == 1


async def canary_by_itself(seen: Watched, redis: Redis) -> Hand:
    """Some of 40 dead letters run again, the rest is to follow by itself; who takes them."""
    page = seen.page
    await die(redis, "webhooks", "Boom", "no {n}", 40)
    await seen.open("/dashboard/dead")
    await page.click(".cause-message a")
    await page.get_by_label("Go on by itself").check()
    await page.click("text=Redrive a canary")
    await confirm(page)
    return Hand(redis, QueueSpec("webhooks"))


async def test_a_canary_goes_on_with_the_page_closed(seen: Watched, redis: Redis) -> None:
    page, hand = seen.page, await canary_by_itself(seen, redis)
    await expect(page.locator(".callout")).to_contain_text("the rest runs again by itself")
    await seen.picture("canary-by-itself")
    canary = page.url
    await page.goto("about:blank")
    await hand.complete(*await hand.take(10), result=1)
    async with asyncio.timeout(20):
        while not (await hand.take(100)):  # the gateway looks once a second
            await asyncio.sleep(0.1)
    await page.goto(canary)
    await expect(page.locator(".callout")).to_contain_text("gone on by itself")
    await expect(page.locator(".callout")).to_contain_text("38 other jobs")


async def test_a_canary_is_kept_from_going_on(seen: Watched, redis: Redis) -> None:
    page, hand = seen.page, await canary_by_itself(seen, redis)
    await page.click("text=Do not go on by itself")
    await confirm(page)
    await expect(page.locator(".callout").nth(1)).to_contain_text("somebody has stopped that")
    await hand.complete(*await hand.take(10), result=1)
    await expect(page.get_by_role("button", name="Go on: redrive the other 38")).to_be_visible()


async def test_documents_unfold_also_large_ones(seen: Watched, redis: Redis) -> None:
    await Queue("reports", redis).register()
    data = {"rows": [{"n": n, "text": "x" * 90} for n in range(8_000)]}
    await Queue("reports", redis).add("report", data, job_id="big")
    await seen.open("/dashboard/queue/reports/job/big")
    twist = seen.page.locator("[data-json$=data] .twist")
    await expect(twist.first).to_be_visible()
    await twist.nth(1).click()
    await expect(seen.page.locator("text=7,900 more")).to_be_visible()
    await seen.page.locator("text=7,900 more").click()
    await expect(seen.page.locator("text=7,800 more")).to_be_visible()


async def test_counts_change_without_a_reload(seen: Watched, redis: Redis) -> None:
    await seen.open("/dashboard")
    await expect(seen.page.locator("[data-live]")).to_have_text("live")
    await Queue("webhooks", redis).pause()
    badge = seen.page.locator("[data-queue=webhooks] [data-badge=paused]")
    await expect(badge).to_be_visible(timeout=15_000)


async def test_sign_in_and_out(browser: Browser, address: str, redis: Redis) -> None:
    key = await make_key(redis, "read", "operate")
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{address}/dashboard/dead")
    await page.fill("#credential", "cs_test_wrong")
    await page.click("text=Sign in >> nth=-1")
    await expect(page.get_by_role("alert")).to_contain_text("not valid")
    await expect(page.locator("#credential")).to_be_focused()
    await page.fill("#credential", key)
    async with page.expect_navigation():
        await page.click("button[type=submit]")
    await expect(page.locator("h1")).to_have_text("Dead letters")
    (cookie,) = await context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (
        "__Host-credstream",
        True,
        "Strict",
    )
    async with page.expect_navigation():
        await page.click("text=Sign out")
    await expect(page.locator("h1")).to_have_text("Sign in")
    await context.close()


async def test_the_keyboard_is_enough(seen: Watched, redis: Redis) -> None:
    page = seen.page
    await die(redis, "webhooks", "Boom", "no", 3)
    await seen.open("/dashboard/queue/webhooks?state=failed")
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.locator("input[type=search]")).to_be_focused()
    await page.locator("h1").click()
    async with page.expect_navigation():
        await page.keyboard.press("g")
        await page.keyboard.press("d")
    await expect(page.locator("h1")).to_have_text("Dead letters")


async def test_the_theme_is_remembered(seen: Watched) -> None:
    await seen.open("/dashboard")
    await seen.page.click("[data-theme-toggle]")
    await seen.open("/dashboard/dead")
    assert await seen.page.get_attribute("html", "data-theme") == "dark"


async def test_the_menu_of_a_phone_by_keyboard(seen: Watched) -> None:
    page = seen.page
    await page.set_viewport_size({"width": 390, "height": 800})
    await seen.open("/dashboard/queue/webhooks?state=failed")
    tab = page.get_by_role("navigation", name="States").get_by_text("Failed")
    await expect(tab).to_be_in_viewport(ratio=1)
    menu = page.get_by_role("button", name="Menu")
    await menu.press("Enter")
    await expect(page.get_by_role("link", name="Overview").first).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(menu).to_be_focused()
    await menu.click()
    await page.get_by_role("link", name="API keys").focus()
    await page.keyboard.press("Tab")
    await expect(menu).to_have_attribute("aria-expanded", "false")


async def test_a_queue_is_found_by_its_name(seen: Watched, redis: Redis) -> None:
    for number in range(9):
        await Queue(f"tenant-{number}", redis).register()
    await seen.open("/dashboard")
    await seen.page.keyboard.press("/")
    await seen.page.keyboard.type("ant-7")
    await expect(seen.page.locator("[data-queue]:visible")).to_have_count(1)
    await expect(seen.page.locator("[data-filtered]")).to_have_text("1 of 15 queues shown")
