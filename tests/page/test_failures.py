"""What goes wrong is said with code, words and advice, and the next Speak works."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from server_process import ServerProcess
from speech_page import TOKEN, OpenPage, SpeechPage

pytestmark = pytest.mark.anyio

TEXT = "一二三。"
SINE = ("--model", "sine=sine_model:SineModel")
SLOW_SINE = json.dumps(
    [{"name": "sine", "kind": "sine_model:SineModel", "options": {"compute_delay_s": 0.05}}]
)
GONE = "ERR_CONNECTION_(REFUSED|RESET)|ERR_EMPTY_RESPONSE"


async def advice(page: SpeechPage) -> str:
    return await page["failure-advice"].inner_text()


async def test_unknown_voice(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    await page.start(TEXT, voice="nobody")
    failure = await page.failure()
    assert "40000003" in failure
    assert "nobody" in failure
    assert await advice(page)
    assert await page["failure"].get_attribute("role") == "alert"
    await page.speak(TEXT, voice="sine")
    assert await page["failure"].is_hidden()


async def test_wrong_token(guarded_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(guarded_server.address, path="/?token=wrong-token")
    await page["voice-problem"].wait_for(state="visible")
    await page.start(TEXT, voice="sine")
    failure = await page.failure()
    assert "40000001" in failure
    assert await advice(page)
    page.forgive("status of 403")
    await page["token"].fill(TOKEN)
    await page.speak(TEXT)
    await page["voice-problem"].wait_for(state="hidden")
    assert await page["failure"].is_hidden()


async def test_refused_handshake(tmp_path: Path, open_page: OpenPage) -> None:
    """Browsers cannot read why a handshake was refused, so the page has to think of the token."""
    settings = {"tokens": TOKEN, "token_refusal": "handshake"}
    with ServerProcess(tmp_path / "log", *SINE, **settings) as process:
        page = await open_page(process.address)
        await page.start(TEXT, voice="sine")
        await page.failure()
        assert await advice(page)
        page.forgive("status of 403|WebSocket connection to .* failed")
        await page["token"].fill(TOKEN)
        await page.speak(TEXT)


async def test_killed_server(tmp_path: Path, open_page: OpenPage) -> None:
    with ServerProcess(tmp_path / "first", models=SLOW_SINE) as process:
        page = await open_page(process.address)
        page.forgive(GONE)
        await page.start("一二三四五六七八九十" * 10 + "。", voice="sine")
        await page.until_audible()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        lost = await page.failure()
        assert await advice(page)
        await page.start(TEXT)
        await page.wait("(lost) => document.getElementById('failure').innerText !== lost", lost)
        assert await page.failure()
        assert await advice(page)
        assert await page.state() == "failed"
    port = int(process.address.rpartition(":")[2])
    with ServerProcess(tmp_path / "second", *SINE, port=port):
        await page.speak(TEXT)
        assert await page["failure"].is_hidden()


async def test_a_preview_that_breaks_off(tmp_path: Path, open_page: OpenPage) -> None:
    with ServerProcess(tmp_path / "log", models=SLOW_SINE) as process:
        page = await open_page(process.address)
        await page.ready()
        async with page.page.expect_response("**/stream/v1/tts"):
            await page["preview"].click()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        await page["voice-problem"].wait_for(state="visible")
        assert "The connection broke" in await page["voice-problem"].inner_text()
        assert await page["preview"].inner_text() == "Preview"
    page.forgive(f"{GONE}|ERR_INCOMPLETE_CHUNKED_ENCODING")


async def test_a_model_that_fails(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    await page.start("please raise", voice="sine")
    assert "51020001" in await page.failure()
    assert await advice(page)
    await page.speak(TEXT)
