"""Pictures of the page's states, to be looked at: `scripts/screenshots [FOLDER]`."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from chromium import chromium, chromium_path
from playwright.async_api import Browser
from server_process import ServerProcess
from speech_page import PageOpener, SpeechPage

LONG = {
    "zh": "清晨的码头还很安静，渔船一只接一只靠岸。船上的人把夜里的收获搬下来，一筐一筐摆在石阶上。"
    "卖早点的小店已经开了门，蒸笼里的热气一直飘到街角。今天晴，东南风三到四级，最高气温26度。",
    "en": "By noon the fog has lifted. A ferry crosses the bay every twenty minutes, and from its "
    "upper deck you can count eleven islands. The first train leaves at 7:45, a ticket is $3.50.",
}
State = Callable[[SpeechPage, str], Awaitable[None]]


async def idle(page: SpeechPage, locale: str) -> None:
    del page, locale


async def speaking(page: SpeechPage, locale: str) -> None:
    await page.mode("llm")
    await page.start(LONG[locale], tokens_per_second="12")
    await page.wait("() => window.cosystream.stats().positionS > 3")


async def typing(page: SpeechPage, locale: str) -> None:
    await page.mode("typing")
    for piece in re.findall(".+?[,，。.] ?", LONG[locale])[:3]:
        await page["typing"].fill(piece)
        await page["typing"].press("Enter")
        await page.until_audible()
    await page["typing"].fill("…")


async def done(page: SpeechPage, locale: str) -> None:
    del locale
    await page.speak(await page["text"].input_value(), speech_rate="300")


async def stopped(page: SpeechPage, locale: str) -> None:
    await page.start(LONG[locale])
    await page.wait("() => window.cosystream.stats().positionS > 1")
    await page["stop"].click()
    await page.until("done")


async def failed(page: SpeechPage, locale: str) -> None:
    await page.start(LONG[locale], voice="nobody")
    await page.failure()


async def voices(page: SpeechPage, locale: str) -> None:
    del locale
    await page["voice"].click()
    await page.page.keyboard.press("ArrowDown")


async def join(page: SpeechPage, locale: str) -> None:
    await done(page, locale)
    await page["zoom-join"].click()
    await page["tab-request"].click()
    await page.choose("snippet", "python")


async def load(page: SpeechPage, locale: str) -> None:
    del locale
    await page["tab-load"].click()
    await page["load-start"].click()
    await page.page.locator("#panel-load tr.summary").first.wait_for()


STATES: dict[str, State] = {
    "idle": idle,
    "speaking": speaking,
    "typing": typing,
    "done": done,
    "stopped": stopped,
    "failed": failed,
    "voices": voices,
    "join": join,
    "load": load,
}
# What is seen, in which language, colours and width of the window.
PICTURES = [
    *((name, locale, "light", 1280) for locale in ("en", "zh") for name in STATES),
    *((name, "zh", "dark", 1280) for name in ("idle", "speaking", "failed", "done")),
    *((name, locale, "light", 375) for locale in ("en", "zh") for name in ("idle", "failed")),
    ("speaking", "en", "dark", 375),
    ("done", "zh", "light", 375),
    ("voices", "zh", "light", 375),
    ("load", "en", "light", 375),
    ("done", "en", "light", 1920),
    ("done", "en", "light", 800),
]


async def take(browser: Browser, address: str, folder: Path) -> None:
    for name, locale, colours, width in PICTURES:
        opener = PageOpener(browser)
        page = await opener.open(address, locale=locale, width=width, color_scheme=colours)
        await page.ready()
        await STATES[name](page, locale)
        path = folder / f"{name}-{locale}-{colours}-{width}.png"
        await page.page.screenshot(path=path, full_page=True)
        problems = await opener.close()
        print(path, *problems, sep="\n  ")


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    async with chromium(chromium_path()) as browser:
        with (
            tempfile.TemporaryDirectory() as logs,
            ServerProcess(Path(logs) / "log") as server,
        ):
            await take(browser, server.address, folder)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".cache/screenshots")))
