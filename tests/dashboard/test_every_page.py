"""What must hold on every page: no barrier, no error, nothing from elsewhere, no action for
readers, and no effect of markup in whatever somebody else wrote."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from playwright.async_api import Browser, expect
from stage import die

from gateway.app import TABLE
from gateway.dashboard import ROUTES
from gateway.principal import Scope
from gateway.routes import Route
from streams import Queue, Redis
from tests.dashboard.browser import Watched
from tests.dashboard.conftest import make_key, signed_in
from tests.dashboard.pages import NO_PAGE, ORG, every_page
from tests.dashboard.test_pages import EVIL, PAGE_BYTES_MAX, POLICY

pytestmark = pytest.mark.usefixtures("ring")


def matches(route: Route, path: str) -> bool:
    """Whether this route answers this address."""
    pattern = re.sub(r"\{\w+:([^{}]+)\}", r"(?:\1)", route.path)
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path.partition("?")[0]) is not None


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 1280), ("light", 390)])
async def test_in_light_dark_and_on_a_phone(
    browser: Browser, address: str, redis: Redis, tmp_path: Path, look: tuple[Any, int]
) -> None:
    """No serious barrier, no error, nothing asked elsewhere, no scrolling sideways; a picture."""
    scheme, width = look
    context = await browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme
    )
    watched = Watched(await context.new_page(), address)
    wrong: dict[str, list[str]] = {}
    for name, path in (await every_page(redis, tmp_path)).items():
        watched.faults.clear()
        await watched.open(path)
        found = await watched.barriers()
        wide = await watched.page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found.append(f"{wide} pixels wide")
        found += [one for one in watched.faults if name != "nowhere" or "404" not in one]
        await watched.picture(f"{name}-{scheme}-{width}")
        if found:
            wrong[name] = found
    assert wrong == {}


async def test_markup_does_nothing(
    browser: Browser, address: str, redis: Redis, tmp_path: Path
) -> None:
    watched = Watched(await browser.new_page(), address)
    for name, path in (await every_page(redis, tmp_path, EVIL)).items():
        watched.faults.clear()
        await watched.open(path)
        if name == "job":
            tree = watched.page.locator("[data-json$=data] .twist")
            await expect(tree.first).to_be_visible()
        assert await watched.page.locator("main img, main script").count() == 0, path
        faults = [one for one in watched.faults if name != "nowhere" or "404" not in one]
        assert faults == [], path


async def test_two_hundred_queues_and_ten_thousand_dead_letters(
    http: ClientSession, redis: Redis, tmp_path: Path
) -> None:
    """No page grows with what there is."""
    pages = await every_page(redis, tmp_path)
    for number in range(200):
        await Queue(f"queue-{number:03}", redis).register()
    await die(redis, "webhooks", "http_503", "HTTP 503 from https://a.example/{n}", 10_000)
    pages["many"] = "/dashboard/queue/webhooks?state=failed"
    large: dict[str, int] = {}
    for name, path in pages.items():
        async with http.get(path, headers={"Accept": "text/html"}) as answer:
            assert answer.status == (404 if name == "nowhere" else 200), name
            size = len(await answer.read())
        if size > PAGE_BYTES_MAX:
            large[name] = size
    assert large == {}
    async with http.get("/dashboard") as answer:
        overview = await answer.text()
    assert all(f"queue-{number:03}" in overview for number in range(200))
    async with http.get("/dashboard/dead?queue=webhooks") as answer:
        assert "10,0" in await answer.text(), "all of them, from the second time on"


@pytest.mark.parametrize("own", [None, ORG])
async def test_a_reader_sees_no_action(
    address: str, redis: Redis, tmp_path: Path, own: str | None
) -> None:
    """Neither one of the platform nor one of an organization; and what every page has in common."""
    pages = await every_page(redis, tmp_path)
    reader = await make_key(redis, "read", organization_id=own)
    statuses: dict[str, int] = {}
    async with signed_in(address, reader) as person:
        for name, path in pages.items():
            async with person.get(path, allow_redirects=False) as answer:
                text = await answer.text()
                statuses[name] = answer.status
            assert answer.headers["Content-Security-Policy"] == POLICY, name
            assert len(text.encode()) < PAGE_BYTES_MAX, name
            assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", text), name
            assert actions(text) <= {"/dashboard/logout", "/dashboard/login"}, name
            assert "data-list" not in text, name
            assert 'href="/dashboard/add' not in text, name
    seen = {name for name, status in statuses.items() if status == 200}
    assert {"overview", "queue", "dead", "webhook", "mail", "did", "credential"} <= seen
    assert not {"add", "add-form", "audit", "keys"} & seen
    assert ("workers" in seen, "cause" in seen) == (own is None, own is None)


def actions(text: str) -> set[str]:
    """Where forms and buttons of a page send what changes something."""
    forms = [tag for tag in re.findall(r"<form[^>]*>", text) if 'method="post"' in tag]
    found = {address for tag in forms for address in re.findall(r'action="([^"]*)"', tag)}
    found |= set(re.findall(r'formaction="([^"]*)"', text))
    return {
        path
        for path in found
        if not any(
            route.method == "POST" and route.needs is Scope.READ and matches(route, path)
            for route in TABLE
        )
    }


async def test_who_may_everything_sees_actions(address: str, redis: Redis, tmp_path: Path) -> None:
    """Or the test above would prove nothing; nor would any, if a page were not in the table."""
    pages = await every_page(redis, tmp_path)
    for route in ROUTES:
        if route.method == "GET" and not any(part in route.path for part in NO_PAGE):
            assert any(matches(route, path) for path in pages.values()), route.path
    key = await make_key(redis, "read", "submit", "operate", "admin", "read:sensitive")
    async with signed_in(address, key) as person:
        found = set()
        for name, path in pages.items():
            async with person.get(path) as answer:
                if actions(await answer.text()) - {"/dashboard/logout", "/dashboard/login"}:
                    found.add(name)
    assert found >= {
        *("queue", "queue-failed", "cause", "job", "job-waiting", "job-credential"),
        *("webhooks", "webhook", "webhook-disabled", "mail", "credential", "keys"),
        *("add-form", "add-webhooks"),
    }
