"""What a user does on the page, and what the tests see of it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
from chromium import LOUDSPEAKER
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Download, Locator, Page

PATIENCE_MS = 30_000
"""A test that waits longer than this for a state of the page hangs."""
TOKEN = "the-right-token"
ODD_TOKEN = 'it\'s\\ "5" &=%$'
HAN_TOKEN = "口令"
"""What the fixture `guarded_server` wants: any of these."""
OVER = ("done", "failed")

_VIOLATIONS = """
addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error(`CSP: ${violatedDirective} forbids ${blockedURI}`));
"""


class SpeechPage:
    """The page in one tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._problems: list[str] = []
        self._forgiven: list[str] = []
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._problems.append(f"uncaught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._problems.append(f"{message.type}: {message.text}")

    def forgive(self, pattern: str) -> None:
        """What the browser itself says of a failure that the test makes is no problem."""
        self._forgiven.append(pattern)

    @property
    def problems(self) -> list[str]:
        """Console messages and exceptions that no test has asked for."""
        return [
            problem
            for problem in self._problems
            if not any(re.search(pattern, problem) for pattern in self._forgiven)
        ]

    def __getitem__(self, control: str) -> Locator:
        """An element by its id."""
        return self.page.locator(f"#{control}")

    async def ready(self) -> None:
        """The voices are there, so everything is."""
        await self.wait("() => window.cosystream && document.getElementById('voice').value")

    async def mode(self, mode: str) -> None:
        await self.choose("mode", mode)

    async def choose(self, name: str, value: str) -> None:
        """One of the radio buttons that look like a bar."""
        await self.page.locator(f'label:has(input[name="{name}"][value="{value}"])').click()

    async def parameters(self, **chosen: str) -> None:
        """Choose by the controls' ids, with `_` for `-`."""
        for name, value in chosen.items():
            control = self[name.replace("_", "-")]
            if await control.evaluate("(element) => element.tagName === 'SELECT'"):
                await control.select_option(value)
            else:
                await control.fill(value)

    async def start(self, text: str, **chosen: str) -> None:
        """Set the controls, write the text and press Speak."""
        await self.parameters(**chosen)
        await self["text"].fill(text)
        await self["speak"].click()

    async def until(self, *states: str) -> None:
        await self.wait("(states) => states.includes(window.cosystream.state)", list(states))

    async def until_audible(self) -> None:
        await self.wait("() => window.cosystream.stats().firstAudibleMs > 0")

    async def wait(self, function: str, argument: Any = None) -> None:
        """Wait until a JavaScript function says so. An expression would need `unsafe-eval`."""
        await self.page.wait_for_function(function, arg=argument)

    async def speak(self, text: str, **chosen: str) -> dict[str, Any]:
        """Speak to the end; return the statistics."""
        await self.start(text, **chosen)
        await self.until(*OVER)
        assert await self.state() == "done", await self["failure"].inner_text()
        return await self.stats()

    async def state(self) -> str:
        return str(await self.page.evaluate("window.cosystream.state"))

    async def stats(self) -> dict[str, Any]:
        return dict(await self.page.evaluate("window.cosystream.stats()"))

    async def frames(self, name: str) -> list[dict[str, Any]]:
        """What was sent and received under this name."""
        frames = await self.page.evaluate("window.cosystream.frames")
        return [frame for frame in frames if frame["name"] == name]

    async def timeline(self) -> list[str]:
        """What came and went, and when: for the messages of failing tests."""
        frames = await self.page.evaluate("window.cosystream.frames")
        return [
            f"{frame['atMs'] - frames[0]['atMs']:.0f} ms {frame['direction']} {frame['name']}"
            f" {frame['size']} B"
            for frame in frames
        ]

    async def failure(self) -> str:
        """What is shown, once a run has failed."""
        await self.until("failed")
        await self["failure"].wait_for(state="visible")
        return await self["failure"].inner_text()

    def labelled(self, key: str) -> Locator:
        """The control whose text is this message of `static/js/messages`."""
        return self.page.locator(f'[data-i18n="{key}"]')

    async def download(self, button: Locator, folder: Path) -> Path:
        async with self.page.expect_download() as expected:
            await button.click()
        download: Download = await expected.value
        path = folder / download.suggested_filename
        await download.save_as(path)
        return path

    async def heard(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The samples that went to the loudspeaker; only of pages opened with `recorded`."""
        return np.frombuffer(
            base64.b64decode(await self.page.evaluate("loudspeaker.recorded()")), "<f4"
        )

    async def overflow_px(self) -> int:
        """How far the page can be scrolled sideways."""
        return int(
            await self.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
        )


OpenPage = Callable[..., Coroutine[Any, Any, SpeechPage]]


class PageOpener:
    """Opens pages and remembers them, so that all of them are checked and closed."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._pages: list[SpeechPage] = []

    async def open(
        self,
        address: str,
        *,
        path: str = "/",
        width: int = 1280,
        locale: str = "en-US",
        recorded: bool = False,
        **options: Any,
    ) -> SpeechPage:
        """Open the page of the server at `host:port`.

        Args:
            path: with a query where one is wanted.
            width: of the window, in CSS pixels.
            locale: the browser's language.
            recorded: what goes to the loudspeaker is kept for `heard`.
            options: of Playwright's `new_context`.
        """
        context = await self._browser.new_context(
            viewport={"width": width, "height": 900},
            locale=locale,
            bypass_csp=recorded,
            accept_downloads=True,
            **options,
        )
        self._contexts.append(context)
        await context.add_init_script(_VIOLATIONS)
        if recorded:
            await context.add_init_script(path=LOUDSPEAKER)
        page = SpeechPage(await context.new_page())
        self._pages.append(page)
        await page.page.goto(f"http://{address}{path}")
        return page

    async def close(self) -> list[str]:
        """Close all pages; return what went wrong in them unasked."""
        for context in self._contexts:
            await context.close()
        return [problem for page in self._pages for problem in page.problems]
