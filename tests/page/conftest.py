"""A browser for the tests of the page, and pages in it that report what went wrong in them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from chromium import ChromiumMissingError, chromium, chromium_path, in_ci
from playwright.async_api import Browser
from server_process import ServerProcess
from speech_page import HAN_TOKEN, ODD_TOKEN, TOKEN, OpenPage, PageOpener

TOKENS = (TOKEN, ODD_TOKEN, HAN_TOKEN)


@pytest.fixture(scope="session")
def chromium_executable() -> str:
    """Its path. Without one the tests are skipped; in CI they fail."""
    try:
        return chromium_path()
    except ChromiumMissingError as missing:
        if in_ci():
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
async def browser(chromium_executable: str) -> AsyncIterator[Browser]:
    """One per module: it starts in half a second, and must not outlive the module's event loop."""
    async with chromium(chromium_executable) as browser:
        yield browser


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens pages, each in a profile of its own. A console error in any of them fails the test."""
    opener = PageOpener(browser)
    yield opener.open
    problems = await opener.close()
    assert not problems


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with both models that wants one of TOKENS."""
    models = [{"name": "espeak"}, {"name": "sine", "kind": "sine_model:SineModel"}]
    log = tmp_path_factory.mktemp("guarded-server") / "log"
    with ServerProcess(log, models=json.dumps(models), tokens=",".join(TOKENS)) as process:
        yield process
