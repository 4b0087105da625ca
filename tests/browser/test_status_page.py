"""The status page in a real browser: what it shows is so, and its buttons do what they say."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Page, expect

from tests.support.demo import Demo

pytestmark = [pytest.mark.slow, pytest.mark.browser]


async def status(demo: Demo) -> dict:
    return json.loads((await demo.get("admin", "/api/v1/status"))[1])


async def test_the_page_shows_who_is_primary_and_follows_the_traffic(demo: Demo, page: Page) -> None:
    await expect(page.locator("#summary")).to_have_text(
        "Stage dual-write: json is primary, postgres is secondary."
    )
    await expect(page.locator("#track .here")).to_contain_text("dual-write")
    for _ in range(5):
        assert (await demo.send("POST", "/api/orders", {"note": "seen"}))[0] == 201
    await expect(page.locator('[data-fact="replayed"]')).to_have_text("5")
    await expect(page.locator('[data-fact="lag_entries"]')).to_have_text("0")
    await expect(page.locator('[data-upstream="json"] .total')).to_have_text("5")


async def test_the_canary_is_enabled_weighed_and_disabled_by_its_buttons(demo: Demo, page: Page) -> None:
    await page.locator("#weight").fill("25")
    await page.locator("#weight-set").click()
    await page.locator("#canary-enable").click()
    await expect(page.locator("#canary-state")).to_have_text("on")
    canary = (await status(demo))["canary"]
    assert (canary["enabled"], canary["weight"]) == (True, 25)
    answered = [(await demo.get("proxy", "/api/stores"))[2]["X-Served-By"] for _ in range(100)]
    assert answered.count("postgres") == 25

    await page.locator("#canary-disable").click()
    await expect(page.locator("#canary-state")).to_have_text("off")
    assert (await status(demo))["canary"]["enabled"] is False


async def test_a_switch_and_a_rollback_ask_for_a_reason_and_happen(demo: Demo, page: Page) -> None:
    await page.locator("#switch").click()
    await expect(page.locator("#act-text")).to_contain_text("Nothing stands against it")
    await page.locator("#act-reason").fill("Full migration")
    await page.locator("#act-go").click()
    await expect(page.locator("#summary")).to_contain_text("postgres is primary")
    await expect(page.locator("#track .here")).to_contain_text("switched")
    assert (await status(demo))["primary"] == "postgres"

    await page.locator("#rollback").click()
    await page.locator("#act-go").click()
    await expect(page.locator("#summary")).to_contain_text("json is primary")
    assert (await status(demo))["primary"] == "json"
    lines = page.locator("#history li")
    await expect(lines.nth(0)).to_contain_text("Emergency rollback")
    await expect(lines.nth(1)).to_contain_text("Full migration")


async def test_the_page_says_so_when_the_proxy_is_gone(demo: Demo, page: Page) -> None:
    await demo.interrupt()
    await expect(page.locator("#link")).to_have_text("no connection to the proxy")


async def test_the_page_is_usable_on_a_narrow_screen(page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360, "nothing is wider than the screen"
    await expect(page.locator("#rollback")).to_be_visible()


async def test_a_paused_mirror_is_told_with_who_and_why(demo: Demo, page: Page) -> None:
    await expect(page.locator("#paused")).to_be_hidden()
    code, said = await demo.turnout("mirror", "pause", "a new disk")
    assert code == 0, said
    await expect(page.locator("#paused")).to_contain_text("a new disk")
    code, said = await demo.turnout("mirror", "resume")
    assert code == 0, said
    await expect(page.locator("#paused")).to_be_hidden()
