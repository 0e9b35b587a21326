"""The pictures of the dashboard in docs/images: `python -m tests.dashboard.screenshots`."""

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from redis_servers import valkey
from stage import set_stage

import streams
from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from tests.dashboard.browser import chromium

FOLDER = ROOT / "docs" / "images"
WANTED = (
    ("dashboard-overview-light.png", "/dashboard", "light"),
    ("dashboard-dead-letters-dark.png", "/dashboard/dead", "dark"),
)
BYTES_MAX = 200_000
SETTLED_MS = 1_000


async def take() -> None:
    """Set the stage, open the pages, keep what is to be seen."""
    FOLDER.mkdir(exist_ok=True)
    with valkey(appendfsync="everysec") as server:
        redis = streams.connect(server.url)
        async with (
            listening(create_app(redis, GatewaySettings(port=0))) as (_, port),
            chromium() as browser,
        ):
            await set_stage(redis)
            for name, path, scheme in WANTED:
                page = await browser.new_page(
                    viewport={"width": 1360, "height": 860}, color_scheme=scheme
                )
                await page.goto(f"http://localhost:{port}{path}")
                await page.wait_for_timeout(SETTLED_MS)
                await page.reload()  # by now every dead letter has been looked at
                await page.wait_for_timeout(SETTLED_MS)
                await page.screenshot(path=FOLDER / name)
                await page.close()
                size = (FOLDER / name).stat().st_size
                print(f"{FOLDER / name}: {size} bytes")
                if size > BYTES_MAX:
                    raise SystemExit(f"{name} is larger than {BYTES_MAX} bytes")
        await redis.close()


if __name__ == "__main__":
    asyncio.run(take())
