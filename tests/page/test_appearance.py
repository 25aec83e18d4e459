"""Languages, colours, a phone, and a user without a mouse or without eyes."""

from __future__ import annotations

import re

import pytest
from server_process import ServerProcess
from speech_page import OpenPage, SpeechPage

pytestmark = pytest.mark.anyio

SPOKEN = "一二三四五六" + "w" * 60
TEXT = "一二三。"
HAN = re.compile(r"[\u4e00-\u9fff]")
PHONE_PX = 375
TABS = ["tab-frames", "tab-request", "tab-load"]
NAMED_ROLES = {
    "button", "checkbox", "combobox", "link", "radio", "searchbox", "slider", "spinbutton",
    "tab", "textbox",
}  # fmt: skip


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("zh-CN", ("zh", "朗读", "完成")),
        ("fr", ("en", "Speak", "Done")),
    ],
)
async def test_the_browsers_language(
    sine_server: ServerProcess, open_page: OpenPage, locale: str, words: tuple[str, str, str]
) -> None:
    language, speak, done = words
    page = await open_page(sine_server.address, locale=locale)
    await page.ready()
    assert await page.page.locator("html").get_attribute("lang") == language
    assert speak in await page["speak"].inner_text()
    await page.speak(TEXT)
    assert done in await page["status"].inner_text()


async def test_a_chosen_language_is_kept(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    await page.start(TEXT, voice="nobody")
    english = await page.failure()
    await page["locale"].select_option("zh")
    chinese = await page["failure"].inner_text()
    assert not HAN.search(english)
    assert HAN.search(await page["failure-advice"].inner_text())
    assert "nobody" in chinese
    await page.page.reload()
    await page.ready()
    assert await page.page.locator("html").get_attribute("lang") == "zh"
    assert HAN.search(await page["status"].inner_text())


async def test_every_state_fits_a_phone_in_both_languages(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(sine_server.address, width=PHONE_PX)
    await page.ready()
    await looks_right(page, "idle")
    for mode in ("llm", "typing", "whole"):
        await page.choose("mode", mode)
        await looks_right(page, mode)
    await page.speak(SPOKEN, voice="sine", speech_rate="500")
    await looks_right(page, "done")
    for tab in TABS:
        await page[tab].click()
        await looks_right(page, tab)
    await page["load-sessions"].fill("2")
    await page["load-start"].click()
    await page.page.locator("#panel-load tr.summary").first.wait_for()
    await looks_right(page, "load test")
    await page.start(TEXT, voice="nobody-has-such-a-long-name-of-a-voice-without-any-space")
    await page.failure()
    await looks_right(page, "failed")


async def looks_right(page: SpeechPage, state: str) -> None:
    """Nothing is wider than the window, and every word is translated."""
    for locale in ("zh", "en"):
        await page["locale"].select_option(locale)
        assert await page.overflow_px() == 0, (state, locale)
        words = await page.page.locator("body").inner_text()
        assert not re.search(r"\{\w+\}|undefined|NaN|\[object", words), (state, locale)
        if locale == "en":
            assert not HAN.search(words.replace("中文", "").replace(SPOKEN, "")), state


async def test_colours(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    for system, chosen, dark in (
        ("light", "auto", False),
        ("dark", "auto", True),
        ("light", "dark", True),
        ("dark", "light", False),
    ):
        await page.page.emulate_media(color_scheme=system)
        await page["theme"].select_option(chosen)
        assert (await brightness(page, "background-color") < 0.5) is dark
        assert (await brightness(page, "color") > 0.5) is dark
    await page.page.reload()
    assert await brightness(page, "background-color") > 0.5, "what was chosen is kept"


async def test_the_keyboard_is_enough(sine_server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(sine_server.address)
    await page.ready()
    await page["text"].fill(TEXT)
    await page["text"].press("Control+Enter")
    await page.until("done")
    await page["text"].press("Enter")
    assert await page["text"].input_value() == TEXT + "\n", "Enter is a new line there"
    await page["text"].fill("一二三四五六七八九十" * 5)
    await page["speak"].press("Enter")
    await page.until_audible()
    await page["voice"].focus()
    await page.page.keyboard.press("Escape")
    await page.until("done")
    assert (await page.stats())["silentMs"] is not None


async def test_a_voice_is_found_by_the_keyboard(server: ServerProcess, open_page: OpenPage) -> None:
    page = await open_page(server.address)
    await page.ready()
    await page["voice"].fill("")
    await page["voice"].press_sequentially("longxiaochun")
    options = page.page.locator("#voice-list [role=option]")
    assert await options.count() == 1
    await page["voice"].press("ArrowDown")
    active = await page["voice"].get_attribute("aria-activedescendant")
    assert active == await options.first.get_attribute("id")
    await page["voice"].press("Enter")
    assert await page["voice-list"].is_hidden()
    assert await page["voice"].input_value() == "中文女"
    assert await page["voice-facts"].inner_text()


async def test_every_control_is_reached_seen_and_has_a_name(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(sine_server.address)
    await page.ready()
    await page["text"].press("Home")
    reached = set()
    for _ in range(80):
        await page.page.keyboard.press("Tab")
        focused = await page.page.evaluate(
            """() => {
              const { id, tagName } = document.activeElement;
              const { outlineStyle, boxShadow } = getComputedStyle(document.activeElement);
              return { id, tagName, seen: outlineStyle !== 'none' || boxShadow !== 'none' };
            }"""
        )
        if focused["tagName"] == "BODY":
            break
        reached.add(focused["id"])
        assert focused["seen"] or focused["tagName"] in {"INPUT", "IFRAME"}, focused
    assert {"voice", "preview", "speak", "format", "volume", "token", "tab-frames"} <= reached
    assert await page["status"].get_attribute("role") == "status"
    devtools = await page.page.context.new_cdp_session(page.page)
    for tab in TABS:
        await page[tab].click()
        tree = await devtools.send("Accessibility.getFullAXTree")
        nameless = [
            node
            for node in tree["nodes"]
            if not node.get("ignored")
            and node.get("role", {}).get("value") in NAMED_ROLES
            and not node.get("name", {}).get("value")
        ]
        assert not nameless


async def test_less_motion_where_it_is_asked_for(
    sine_server: ServerProcess, open_page: OpenPage
) -> None:
    page = await open_page(sine_server.address, reduced_motion="reduce")
    await page.start("一二三四五六七八九。", voice="sine")
    await page.until_audible()
    running = await page.page.evaluate(
        "() => document.getAnimations().filter((one) => one.playState === 'running').length"
    )
    assert running == 0
    await page.until("done")


async def brightness(page: SpeechPage, name: str) -> float:
    colour = await page.page.evaluate(
        "(name) => getComputedStyle(document.body).getPropertyValue(name)", name
    )
    channels = [float(value) for value in re.findall(r"[\d.]+", colour)[:3]]
    return sum(channels) / 3 / 255
