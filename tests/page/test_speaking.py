"""Speech as a listener has it: when it begins, whether it flows, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from server_process import ServerProcess
from sine_model import FREQUENCY_HZ, sine_samples
from speech_page import OpenPage

pytestmark = pytest.mark.anyio

CHINESE = "你好，很高兴认识你。今天天气很好。"
ENGLISH = "Hello there. How are you?"


@pytest.mark.parametrize(("voice", "text"), [("中文女", CHINESE), ("英文女", ENGLISH)])
async def test_whole_text_is_spoken_without_a_gap(
    server: ServerProcess, open_page: OpenPage, voice: str, text: str
) -> None:
    page = await open_page(server.address)
    await page.ready()
    stats = await page.speak(text, voice=voice)
    assert stats["path"] == "worklet"
    assert stats["underruns"] == 0, await page.timeline()
    assert stats["droppedMs"] == 0
    assert 1 < stats["audioS"] < 6
    assert stats["playedS"] == pytest.approx(stats["audioS"], abs=1e-6)
    assert min(stats["connectMs"], stats["startedMs"]) > 0
    assert 0 < stats["firstFrameMs"] <= stats["firstAudibleMs"] < 1000 * stats["audioS"]
    assert stats["rtf"] < 1


async def test_a_simulated_llm_is_heard_before_it_has_written_all(
    server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(server.address)
    await page.ready()
    await page.mode("llm")
    stats = await page.speak(CHINESE, tokens_per_second="4", jitter="80", llm_seed="7")
    assert stats["firstAudibleMs"] < stats["lastTextMs"]
    assert stats["underruns"] == 0, await page.timeline()
    pieces = [frame["body"]["payload"]["text"] for frame in await page.frames("RunSynthesis")]
    assert len(pieces) > 6
    assert "".join(pieces) == CHINESE


async def test_the_seed_decides_the_pieces(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    await page.mode("llm")

    async def pieces(seed: str) -> list[str]:
        text = "一二三四五六七八九十。"
        await page.speak(text, tokens_per_second="500", llm_seed=seed, speech_rate="500")
        return [frame["body"]["payload"]["text"] for frame in await page.frames("RunSynthesis")]

    assert await pieces("1") != await pieces("2")


async def test_typing_sends_a_piece_at_enter_and_at_each_pause(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(sine_server.address)
    await page.mode("typing")
    await page["pause-ms"].fill("200")
    await page["typing"].fill("一二三，")
    await page["typing"].press("Enter")
    await page.until("speaking")
    await page["typing"].press_sequentially("四五六。")
    await page.wait(
        "() => window.cosystream.frames.filter(({name}) => name === 'RunSynthesis').length === 2"
    )
    assert await page.page.locator("#typed li").all_inner_texts() == ["一二三，", "四五六。"]
    await page.until_audible()
    await page["finish"].click()
    await page.until("done")
    assert (await page.stats())["audioS"] == pytest.approx(0.8, abs=0.01)


async def test_what_is_heard_is_what_was_sent(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    """Two sentences, which come in many frames, are one sine without a lost or doubled sample."""
    text = "一二三四五。六七八九十。"
    page = await open_page(sine_server.address, recorded=True)
    await page.speak(text, voice="sine", sample_rate="24000")
    expected = sine_samples(len(text), sample_rate_hz=24000)
    heard = sounding(await page.heard())
    assert abs(len(heard) - len(expected)) < 4
    assert np.abs(heard[:10]).max() < 0.05, "the beginning is faded in"
    # The trimmed ends may lack a sample that is 0 or was rounded to it.
    errors = [np.abs(heard[300:-300] - expected[300 + n :][: len(heard) - 600]) for n in range(4)]
    assert min(error.max() for error in errors) < 1e-3


@pytest.mark.parametrize("rate_hz", [8000, 44100])
async def test_any_rate_keeps_its_pitch(
    sine_server: ServerProcess, open_page: OpenPage, rate_hz: int
) -> None:
    page = await open_page(sine_server.address, recorded=True)
    stats = await page.speak("一二三四五。", voice="sine", sample_rate=str(rate_hz))
    heard = sounding(await page.heard())
    crossings = np.flatnonzero((heard[:-1] < 0) & (heard[1:] >= 0))
    frequency_hz = (len(crossings) - 1) * rate_hz / (crossings[-1] - crossings[0])
    assert frequency_hz == pytest.approx(FREQUENCY_HZ, rel=0.005)
    assert stats["audioS"] == pytest.approx(0.6, abs=0.01)


async def test_controls_reach_the_server(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    await page.ready()
    await page["tab-request"].click()
    chosen = {"volume": "20", "speech_rate": "500", "pitch_rate": "-100", "sample_rate": "16000"}
    stats = await page.speak("一二三四五六七八九。", voice="sine-2", **chosen)
    assert stats["audioS"] == pytest.approx(0.5, abs=0.05)
    (start,) = await page.frames("StartSynthesis")
    sent = start["body"]["payload"]
    assert {name: str(sent[name]) for name in chosen} == chosen
    assert sent["voice"] == "sine-2"
    assert json.loads(await page.page.locator("#panel-request code").inner_text()) == sent


async def test_the_page_reads_along(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    text = "一二三四五六。七八九十一二。"
    await page.start(text, voice="sine")
    await page.wait("() => document.querySelector('#read-along .word.now')")
    await page.until("done")
    assert await page["read-along"].inner_text() == text
    assert await page.page.locator("#read-along .sentence.heard").count() == 2


async def test_nothing_to_say_is_said(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    stats = await page.speak("。。。", voice="sine")
    assert stats["chunks"] == 0
    await page["text"].fill("  ")
    await page["speak"].click()
    assert await page.page.evaluate("document.activeElement.id") == "text"


def sounding(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Without the silence around it."""
    (loud,) = np.nonzero(samples)
    return samples[loud[0] : loud[-1] + 1]
