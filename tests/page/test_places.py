"""Where the page may lie: at the root, where the seed had its own, behind a proxy."""

from __future__ import annotations

import pytest
from chromium import INSECURE_HOST
from server_process import ServerProcess
from speech_page import HAN_TOKEN, TOKEN, OpenPage
from stripping_proxy import StrippingProxy

pytestmark = pytest.mark.anyio

TEXT = "一二三。"


async def test_the_seeds_address(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address, path="/ws/v1/tts/test")
    await page.speak(TEXT, voice="sine")


@pytest.mark.parametrize("path", ["/speech/", "/a/b/ws/v1/tts/test"])
async def test_under_a_sub_path(sine_server: ServerProcess, open_page: OpenPage, path: str) -> None:
    prefix = "/a/b" if path.startswith("/a/b/") else "/speech"
    async with StrippingProxy(sine_server.address, prefix) as proxy:
        page = await open_page(proxy.address, path=path)
        await page.ready()
        await page.speak(TEXT)
        await page.wait(r"() => /\d+\/\d+/.test(document.getElementById('admin').innerText)")
        async with page.page.expect_response("**/stream/v1/tts") as answer:
            await page["preview"].click()
        response = await answer.value
        assert response.ok
        await response.finished()
        links = await page.page.eval_on_selector_all("#admin a", "(all) => all.map((a) => a.href)")
        own = [link for link in links if proxy.address in link]
        assert own
        assert all(f"{proxy.address}{prefix}/" in link for link in own)


async def test_with_a_token_in_the_address(
    guarded_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(guarded_server.address, path=f"/?token={TOKEN}")
    await page.ready()
    await page.speak(TEXT)
    assert await page["token"].get_attribute("type") == "password"
    assert TOKEN not in await page.page.evaluate("() => JSON.stringify(window.cosystream.frames)")
    assert TOKEN not in guarded_server.log.read_text(encoding="utf-8")


async def test_with_a_token_in_the_field(
    guarded_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(guarded_server.address)
    await page["voice-problem"].wait_for(state="visible")
    page.forgive("status of 403")
    await page["token"].fill(HAN_TOKEN)
    await page["token"].press("Tab")
    await page.ready()
    await page.speak(TEXT)
    await page.page.reload()
    await page.ready()
    await page.speak(TEXT)


async def test_over_plain_http_in_a_local_network(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    """Browsers keep AudioWorklet and the clipboard from such a page."""
    port = sine_server.address.rpartition(":")[2]
    page = await open_page(f"{INSECURE_HOST}:{port}")
    page.forgive("ScriptProcessorNode is deprecated")
    await page.ready()
    assert await page.page.evaluate("() => isSecureContext") is False
    stats = await page.speak(TEXT)
    assert stats["path"] == "script-processor"
    assert stats["playedS"] == pytest.approx(0.4, abs=0.01)
    await page["tab-request"].click()
    await page["copy-request"].click()
    await page.wait("() => document.getElementById('copy-request').innerText === 'Copied'")
