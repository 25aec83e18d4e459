"""The engineer's part of the page: numbers, waveform, frames, load test, admin strip."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser
from server_process import ServerProcess
from speech_page import OpenPage, PageOpener, SpeechPage

pytestmark = pytest.mark.anyio

NEXT_PICTURE = """() => new Promise((resolve) =>
  requestAnimationFrame(() => requestAnimationFrame(resolve)))"""
TEXT = "一二三四五六。七八九十一二。"


@pytest.fixture(scope="module")
async def spoken(sine_server: ServerProcess, browser: Browser) -> AsyncIterator[SpeechPage]:
    """A page that has spoken, to be looked at."""
    opener = PageOpener(browser)
    page = await opener.open(sine_server.address)
    await page.ready()
    assert not await drawn(page, "#waveform")
    await page.speak(TEXT, voice="sine")
    yield page
    assert not await opener.close()


async def test_numbers_are_shown(spoken: SpeechPage) -> None:
    stats = await spoken.stats()
    shown = await spoken["numbers"].inner_text()
    assert f"{stats['audioS']:.1f}" in shown
    assert f"{stats['chunks']}" in shown
    assert "–" in shown, "it was not stopped, and a number that there is not is not 0"
    assert await drawn(spoken, "#numbers canvas")


async def test_the_waveform_shows_the_joins(spoken: SpeechPage) -> None:
    stats = await spoken.stats()
    assert await drawn(spoken, "#waveform")
    assert str(stats["chunks"] - 1) in await spoken["waveform-hint"].inner_text()
    await spoken["zoom-join"].click()
    hint = await spoken["waveform-hint"].inner_text()
    step, beside = (float(value) for value in re.findall(r"([\d.]+) %", hint))
    assert step <= beside * 1.1 + 0.1, "the sine has no click at a join"
    await spoken["zoom-fit"].click()
    assert await spoken["waveform-hint"].inner_text() != hint


async def test_frames_fold_out_and_are_filtered(spoken: SpeechPage) -> None:
    rows = spoken.page.locator("#panel-frames .frames > *")
    assert await rows.count() == len(await spoken.page.evaluate("() => window.cosystream.frames"))
    kind = spoken.page.locator("#panel-frames select")
    await kind.select_option("audio")
    assert await rows.count() == (await spoken.stats())["chunks"]
    await kind.select_option("messages")
    await spoken.page.locator("#panel-frames input[type=search]").fill("startsynthesis")
    assert await rows.count() == 1
    await rows.first.locator("summary").click()
    shown = json.loads(await rows.first.locator("pre").inner_text())
    assert shown["header"]["namespace"] == "FlowingSpeechSynthesizer"
    assert shown["payload"]["voice"] == "sine"


async def test_what_was_chosen_is_there_again(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(sine_server.address)
    await page.ready()
    await page.mode("llm")
    await page.parameters(volume="30", format="mp3", tokens_per_second="7", voice="sine-2")
    await page["text"].fill(TEXT)
    await page.page.reload()
    await page.ready()
    assert await page["text"].input_value() == TEXT
    assert await page["voice"].input_value() == "sine-2"
    assert await page["volume"].input_value() == "30"
    assert await page["format"].input_value() == "mp3"
    assert await page["tokens-per-second"].input_value() == "7"


async def test_a_load_test_fills_its_table(server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(server.address)
    await page.ready()
    await page["text"].fill("你好，很高兴认识你。")
    await page["tab-load"].click()
    await page["load-sessions"].fill("5")
    await page["load-start"].click()
    summary = page.page.locator("#panel-load tr.summary")
    await summary.first.wait_for()
    assert await page.page.locator("#panel-load tbody tr:not(.summary)").count() == 5
    p50, p95 = [re.findall(r"([\d,]+) ms", line) for line in await summary.all_inner_texts()]
    assert 0 < int(p50[0]) <= int(p95[0])


async def test_the_admin_strip_follows_the_server(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(server.address)
    status = server.get("/status").json()
    await page.wait("() => document.querySelectorAll('#admin .workers .lamp').length > 0")
    words = await page["admin"].inner_text()
    assert status["version"] in words
    # The recogniser is not loaded before it is asked for; an earlier test may have done so.
    states = [worker["state"] for worker in status["workers"]]
    assert f"{states.count('ready')}/{len(states)}" in words
    links = await page.page.eval_on_selector_all("#admin a", "(all) => all.map((a) => a.href)")
    assert f"http://{server.address}/metrics" in links


async def test_a_voice_is_previewed(server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(server.address)
    await page.ready()
    await page.parameters(voice="英文女")
    label = await page["preview"].inner_text()
    async with page.page.expect_response("**/stream/v1/tts") as answer:
        await page["preview"].click()
    response = await answer.value
    assert response.headers["content-type"] == "audio/mpeg"
    assert json.loads(response.request.post_data or "")["voice"] == "英文女"
    await page.wait("(label) => document.getElementById('preview').innerText !== label", label)
    await page["preview"].click()
    await page.wait("(label) => document.getElementById('preview').innerText === label", label)


async def test_what_the_model_cannot_do_is_not_offered(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(server.address)
    await page.ready()
    assert await page["instruction-field"].is_hidden()
    assert await page["tab-cloning"].is_hidden()


async def drawn(page: SpeechPage, canvas: str) -> bool:
    """Whether there are at least two colours in a picture."""
    script = """(canvas) => {
      const options = { willReadFrequently: true };
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", options);
      copy.drawImage(canvas, 0, 0);
      const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size > 1;
    }"""
    await page.page.evaluate(NEXT_PICTURE)
    return bool(await page.page.locator(canvas).evaluate(script))
