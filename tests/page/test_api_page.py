"""The page at `/docs`: everything in openapi.json is shown, and its programs can be copied."""

from __future__ import annotations

import re
from typing import Any

import pytest
from server_process import ServerProcess
from speech_page import OpenPage, SpeechPage

pytestmark = pytest.mark.anyio

HAN = re.compile(r"[\u4e00-\u9fff]")
PHONE_PX = 375


async def opened(open_page: OpenPage, server: ServerProcess, **options: Any) -> SpeechPage:
    page = await open_page(server.address, **{"path": "/docs", **options})
    await page.page.wait_for_selector("html[data-state=done]")
    return page


async def test_every_operation_is_shown(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await opened(open_page, sine_server)
    document = sine_server.get("/openapi.json").json()
    shown = await page.page.locator("details.operation").evaluate_all("all => all.map(e => e.id)")
    described = {
        facts["operationId"]
        for methods in document["paths"].values()
        for facts in methods.values()
        if "x-alias-of" not in facts
    }
    assert len(shown) == len(described)
    assert set(shown) == described
    text = await page["api"].inner_text()
    assert all(tag["description"].replace("`", "") in text for tag in document["tags"])
    assert "/ws/v1/tts" in text
    links = page["api-contents"].locator("a")
    assert await links.count() == len(described)


async def test_an_operation_by_its_address(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await opened(open_page, sine_server, path="/docs#post_v1_audio_speech")
    speech = page["post_v1_audio_speech"]
    assert await speech.get_attribute("open") is not None
    text = await speech.inner_text()
    assert "0.25 … 4" in text
    assert "instructions" in text
    assert "429" in text
    await page["api-contents"].locator("a", has_text="/healthz").click()
    await page.page.wait_for_selector("#get_healthz[open]")


async def test_an_example_is_copied(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await opened(
        open_page,
        sine_server,
        path="/docs#get_healthz",
        permissions=["clipboard-read", "clipboard-write"],
    )
    await page["get_healthz"].locator("button").click()
    await page.page.wait_for_function("async () => await navigator.clipboard.readText() !== ''")
    copied = await page.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"curl --fail-with-body http://{sine_server.address}/healthz"


async def test_in_chinese_on_a_phone(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await opened(open_page, sine_server, locale="zh-CN", width=PHONE_PX)
    for details in await page.page.locator("details").all():
        await details.evaluate("one => { one.open = true; }")
    heading = page["post_v1_audio_speech"].locator("h3", has_text="application/json")
    assert HAN.search(await heading.inner_text())
    assert await page.overflow_px() == 0
    await page["locale"].select_option("en")
    assert not HAN.search(await heading.inner_text())
    assert await page.overflow_px() == 0


async def test_the_page_that_speaks_leads_here(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(sine_server.address)
    await page.ready()
    link = page.labelled("admin.docs")
    assert await link.get_attribute("href") == f"http://{sine_server.address}/docs"


async def test_without_its_document(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await opened(open_page, sine_server)
    page.forgive("ERR_FAILED")
    await page.page.route("**/openapi.json", lambda route: route.abort())
    await page.page.reload()
    await page.page.wait_for_selector("html[data-state=failed]")
    assert await page["api-status"].inner_text() == "The server does not answer"
