"""The cloning panel against the real endpoints: a voice is made, heard, and taken away."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from clone_model import pitch_of, recording, syllables, wav_file
from server_process import ServerProcess
from speech_page import OpenPage, SpeechPage

pytestmark = pytest.mark.anyio

TEXT = "One two three four five six seven eight nine ten, and so on."


@pytest.fixture
def address(clone_server: ServerProcess) -> Iterator[str]:
    """Of a server without clones."""
    yield clone_server.address
    for voice in clone_server.get("/v1/voices").json()["voices"]:
        if voice["kind"] == "clone":
            httpx.delete(f"http://{clone_server.address}/v1/voices/{voice['id']}")


async def open_panel(open_page: OpenPage, address: str, **options: object) -> SpeechPage:
    page = await open_page(address, **options)
    await page.ready()
    await page["tab-cloning"].click()
    return page


async def fill(page: SpeechPage, name: str, audio: bytes, text: str = TEXT) -> None:
    await page["clone-name"].fill(name)
    await page["clone-text"].fill(text)
    file = {"name": "me.wav", "mimeType": "audio/wav", "buffer": audio}
    await page["clone-file"].set_input_files(files=[file])


async def said(page: SpeechPage, words: str) -> str:
    """All that the panel says, once it says these words."""
    panel = page["panel-cloning"]
    await panel.get_by_text(words).first.wait_for()
    return await panel.inner_text()


async def test_a_voice_from_a_file_speaks(address: str, open_page: OpenPage) -> None:
    page = await open_panel(open_page, address, recorded=True)
    await fill(page, "我的声音", recording(300))
    await page["clone-send"].click()
    shown = await said(page, "is ready and in the list")
    for fact in ("6.0 of 6.0 s", "98 %", "60 dB", "24,000 Hz"):
        assert fact in shown
    entry = page.page.locator(".clone-list li", has_text="我的声音")
    await entry.wait_for()

    await page.speak("Hello.", voice="我的声音")
    assert pitch_of(await page.heard(), 24_000) == pytest.approx(300, abs=5)

    page.page.once("dialog", lambda dialog: dialog.accept())
    await entry.locator("button").click()
    await entry.wait_for(state="detached")
    names = httpx.get(f"http://{address}/v1/voices").text
    assert "我的声音" not in names


async def test_advice_is_given_in_the_pages_language(address: str, open_page: OpenPage) -> None:
    page = await open_panel(open_page, address)
    await fill(page, "short", wav_file(syllables(300, 4.0)))
    await page["clone-send"].click()
    assert "It is short" in await said(page, "is ready and in the list")
    await page["locale"].select_option("zh")
    assert "录音偏短" in await page["panel-cloning"].inner_text()


async def test_the_microphone_s_recording_is_judged(address: str, open_page: OpenPage) -> None:
    """A moment of the browser's fake microphone: too little for a voice, and it is said why."""
    page = await open_panel(open_page, address, permissions=["microphone"])
    page.forgive("400")
    await page["clone-name"].fill("mine")
    await page["clone-text"].fill(TEXT)
    await page["clone-record"].click()
    await page.wait("() => document.querySelector('#panel-cloning meter').value > 0.1")
    await page["clone-record"].click()
    await page.page.locator("#panel-cloning audio").wait_for(state="visible")
    await page["clone-send"].click()
    shown = await said(page, "No voice can be made of this recording.")
    assert "3 s are needed" in shown
    assert "Used" in shown


async def test_what_is_missing_is_asked_for(address: str, open_page: OpenPage) -> None:
    page = await open_panel(open_page, address)
    await page["clone-send"].click()
    await said(page, "The voice needs a name.")
    await page["clone-name"].fill("mine")
    await page["clone-send"].click()
    await said(page, "Record something, or choose a file.")
    await fill(page, "mine", recording(300), text="")
    await page["clone-send"].click()
    await said(page, "Write down what is said in the recording")
    focused = await page.page.evaluate("document.activeElement.id")
    assert focused == "clone-text"


async def test_the_servers_refusal_is_shown(address: str, open_page: OpenPage) -> None:
    page = await open_panel(open_page, address)
    page.forgive("409")
    await fill(page, "tone", recording(300))
    await page["clone-send"].click()
    assert "409" in await said(page, "is the name of a voice that is no clone, or an alias!")
