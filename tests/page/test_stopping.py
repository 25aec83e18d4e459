"""Barge-in from the page: the loudspeaker, the server and the model all stop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flowing import eventually
from server_process import ServerProcess
from sine_model import computed_chunks
from speech_page import OpenPage

pytestmark = pytest.mark.anyio

LONG = "一二三四五六七八九十" * 10 + "。"
CHUNKS_OF_LONG = 101


class SlowSine:
    """A server with one worker, whose model computes twice as fast as it speaks, and counts."""

    def __init__(self, server: ServerProcess, counter: Path) -> None:
        self.server = server
        self._counter = counter

    @property
    def chunks(self) -> int:
        return computed_chunks(self._counter)


@pytest.fixture(scope="module")
def slow_sine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlowSine]:
    folder = tmp_path_factory.mktemp("slow-sine-of-the-page")
    counter = folder / "chunks"
    model = {
        "name": "sine",
        "kind": "sine_model:SineModel",
        "workers": 1,
        "options": {"compute_delay_s": 0.05, "counter_path": str(counter)},
    }
    with ServerProcess(folder / "log", models=json.dumps([model])) as process:
        yield SlowSine(process, counter)


@pytest.mark.parametrize("by", ["click", "Escape"])
async def test_stop_silences_and_the_model_stops(
    slow_sine: SlowSine, open_page: OpenPage, by: str
) -> None:
    page = await open_page(slow_sine.server.address, recorded=True)
    before = slow_sine.chunks
    await page.start(LONG, voice="sine", sample_rate="24000")
    await page.until_audible()
    await page.wait("() => window.cosystream.stats().playedS > 0.2")
    if by == "click":
        await page["stop"].click()
    else:
        await page["text"].press("Escape")
    await page.until("done")
    stats = await page.stats()
    assert 0 <= stats["silentMs"] < 1000
    assert stats["serverStopMs"] > 0
    assert f"{stats['silentMs']:.0f} ms" in await page["status"].inner_text()
    stop = (await page.frames("StopSynthesis"))[-1]
    assert stop["body"]["payload"] == {"cancel": True}
    await eventually(lambda: slow_sine.server.metric("cosystream_active_sessions") == 0)
    # The one worker has one slot: this is spoken after whatever was still computed of the other.
    await page.speak("一二三。")
    assert slow_sine.chunks - before < CHUNKS_OF_LONG / 2
    assert await page["stop"].is_disabled()


async def test_stop_fades_out_and_nothing_follows(slow_sine: SlowSine, open_page: OpenPage) -> None:
    page = await open_page(slow_sine.server.address, recorded=True)
    await page.start(LONG, voice="sine", sample_rate="24000")
    await page.wait("() => window.cosystream.stats().playedS > 0.2")
    await page["stop"].click()
    await page.until("done")
    heard = await page.heard()
    (loud,) = np.nonzero(heard)
    assert len(loud) / 24000 < 5
    steps = np.abs(np.diff(heard))
    assert steps.max() < 0.08, "a step in the sine is a click"
    assert (await page.stats())["playedS"] == pytest.approx(len(loud) / 24000, abs=0.05)


async def test_speak_while_speaking_begins_anew(slow_sine: SlowSine, open_page: OpenPage) -> None:
    page = await open_page(slow_sine.server.address)
    await page.start(LONG, voice="sine")
    await page.until_audible()
    stats = await page.speak("一二三。")
    assert stats["audioS"] == pytest.approx(0.4, abs=0.01)
    assert slow_sine.server.metric("cosystream_active_sessions") == 0


async def test_leaving_the_page_stops_the_model(slow_sine: SlowSine, open_page: OpenPage) -> None:
    page = await open_page(slow_sine.server.address)
    before = slow_sine.chunks
    await page.start(LONG, voice="sine")
    await page.until_audible()
    await page.page.close()
    await eventually(lambda: slow_sine.server.metric("cosystream_active_sessions") == 0)
    assert slow_sine.chunks - before < CHUNKS_OF_LONG


async def test_stop_before_the_first_sound(slow_sine: SlowSine, open_page: OpenPage) -> None:
    page = await open_page(slow_sine.server.address, recorded=True)
    await page["text"].fill(LONG)
    await page.page.evaluate(
        "() => ['speak', 'stop'].forEach((id) => document.getElementById(id).click())"
    )
    await page.until("done")
    page.forgive("closed before the connection is established")
    assert not np.any(await page.heard())
    await page.speak("一二三。")
