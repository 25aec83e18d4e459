"""The Chromium of the tests: where it is, how it is started, and what a page of it must not do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright

FINDER = Path(__file__).parents[2] / "scripts" / "chromium"
LOUDSPEAKER = Path(__file__).with_name("loudspeaker.js")
INSECURE_HOST = "speech.lan"
"""Leads to this machine, but browsers trust it no more than any other plain HTTP."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
]


class ChromiumMissingError(Exception):
    """There is none; the message says how to get one."""


def chromium_path() -> str:
    """The path of a Chromium, found by `scripts/chromium`.

    Raises:
        ChromiumMissingError: none was found.
    """
    found = subprocess.run([str(FINDER), "--find"], capture_output=True, text=True, check=False)
    if found.returncode:
        raise ChromiumMissingError(found.stderr.strip())
    return found.stdout.strip()


def in_ci() -> bool:
    """Whether what is missing must be a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


@asynccontextmanager
async def chromium(path: str) -> AsyncIterator[Browser]:
    """A headless browser with a profile of its own, which is thrown away."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()
