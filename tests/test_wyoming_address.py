"""Where Wyoming listens, by every way to say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.settings import Settings, SettingsError
from server.wyoming_address import WyomingAddress

HERE = WyomingAddress("", 10_200)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COSYSTREAM_WYOMING", raising=False)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", None),
        ("off", None),
        ("False", None),
        ("0", None),
        ("on", HERE),
        ("TRUE", HERE),
        ("1", HERE),
        ("10300", WyomingAddress("", 10_300)),
        (":10300", WyomingAddress("", 10_300)),
        ("0.0.0.0", WyomingAddress("0.0.0.0", 10_200)),
        ("voice.local:0", WyomingAddress("voice.local", 0)),
        ("::1", WyomingAddress("::1", 10_200)),
        ("[::1]", WyomingAddress("::1", 10_200)),
        ("[::1]:10300", WyomingAddress("::1", 10_300)),
    ],
)
def test_addresses(value: str, address: WyomingAddress | None) -> None:
    assert Settings.load(wyoming=value).wyoming_address == address


@pytest.mark.parametrize(
    "value",
    ["host:", "host:x", "host:65536", "70000", "[::1", "[::1]10200", "tcp://host:1", "a b"],
)
def test_what_is_none(value: str) -> None:
    with pytest.raises(SettingsError, match="wyoming"):
        Settings.load(wyoming=value)


def test_every_source(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("cosystream.toml").write_text("wyoming = 10300")
    assert Settings.load().wyoming_address == WyomingAddress("", 10_300)
    Path("cosystream.toml").write_text("wyoming = true")
    assert Settings.load().wyoming_address == HERE
    monkeypatch.setenv("COSYSTREAM_WYOMING", "off")
    assert Settings.load().wyoming_address is None
    assert Settings.load(wyoming=True).wyoming_address == HERE
