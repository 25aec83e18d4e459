"""What the guards stop, and that they leave alone what people say."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import Samples
from models.cosyvoice.guards import AudioGuard, BadSegmentError, TokenGuard

RATE_HZ = 24_000
SILENT = {1, 2, 28}


def token_guard(
    text: str = "很长的一段话" * 20, n_tokens: int | None = None, rate_hz: float = 25
) -> TokenGuard:
    guard = TokenGuard(token_rate_hz=rate_hz, silent_tokens=SILENT)
    guard.add_text(text, len(text) if n_tokens is None else n_tokens)
    return guard


def stopped(guard: TokenGuard, tokens: Iterable[int]) -> tuple[str, int]:
    """Why the guard stops the tokens, and how many it let pass; ("", all) if it does not."""
    n_passed = 0
    for token in tokens:
        try:
            guard.check(token)
        except BadSegmentError as error:
            return error.reason, n_passed
        n_passed += 1
    return "", n_passed


def varied(n: int) -> list[int]:
    """Tokens without a pattern."""
    return np.random.default_rng(0).integers(100, 6561, n).tolist()


@pytest.mark.parametrize(
    ("text", "n_tokens", "spoken_s", "most_s"),
    [
        ("好。", 2, 1.5, 5),
        ("今天天气很好，我们一起去公园散步吧。", 12, 6, 13),
        ("A short sentence of English words.", 7, 4, 9),
        ("1234567890", 10, 8, 12),
        ("ありがとうございます。", 8, 4, 10),
        ("[laughter]", 1, 3, 4),
    ],
)
@pytest.mark.parametrize("rate_hz", [25, 50])
def test_the_longest_is_a_multiple_of_what_a_text_needs(
    text: str, n_tokens: int, spoken_s: float, most_s: float, rate_hz: float
) -> None:
    guard = token_guard(text, n_tokens, rate_hz)
    assert spoken_s * rate_hz < guard.max_tokens < most_s * rate_hz
    assert stopped(guard, varied(5000)) == ("too_long", guard.max_tokens)


def test_more_text_allows_for_more_speech() -> None:
    guard = TokenGuard(token_rate_hz=25)
    assert guard.max_tokens == 75
    guard.add_text("你好", 2)
    guard.add_text("很高兴", 2)
    assert guard.max_tokens == 75 + 80


def test_many_tokens_for_few_characters_allow_for_what_the_characters_need() -> None:
    assert token_guard("你好", 1000).max_tokens == (3 + 2.4) * 25


@pytest.mark.parametrize("rate_hz", [25, 50])
@pytest.mark.parametrize(
    ("tokens", "reason", "after_s"),
    [
        ([7], "repeated_token", 2.0),
        ([7, 8], "token_cycle", 2.6),
        ([7, 8, 9], "token_cycle", 2.7),
        ([7, 8, 9, 10, 11, 12, 13, 14], "token_cycle", 2.75),
        ([7, 8, 1, 1, 1], "token_cycle", 6.4),
        ([1], "silence", 4.0),
        ([1, 2, 28], "silence", 4.0),
    ],
)
def test_what_goes_on_and_on(
    tokens: list[int], reason: str, after_s: float, rate_hz: float
) -> None:
    guard = token_guard(rate_hz=rate_hz)
    endless = itertools.chain(varied(50), itertools.cycle(tokens))
    stop, n_passed = stopped(guard, endless)
    assert stop == reason
    assert (n_passed - 50) / rate_hz == pytest.approx(after_s, abs=0.2)


@pytest.mark.parametrize(
    "tokens",
    [
        varied(500),
        # A held vowel, a pause of three seconds, a stutter of a second, laughter.
        [*varied(20), *[7] * 40, *varied(20)] * 3,
        [*varied(20), *[1, 2] * 37, *varied(20)] * 3,
        [*varied(20), *[7, 8, 9] * 8, *varied(20)] * 3,
        [token for n in range(40) for token in (50, 51, 52, 60 + n)],
    ],
)
def test_what_people_do(tokens: list[int]) -> None:
    assert stopped(token_guard(), tokens) == ("", len(tokens))


def test_silent_tokens_may_be_unknown() -> None:
    guard = TokenGuard(token_rate_hz=25)
    guard.add_text("好" * 100, 100)
    assert stopped(guard, [1] * 200) == ("repeated_token", 50)


@given(st.lists(st.integers(0, 6560), max_size=80))
def test_less_than_two_seconds_are_never_stopped_for_a_pattern(tokens: list[int]) -> None:
    reason, _ = stopped(token_guard(), tokens[:49])
    assert reason == ""


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 8), st.data())
def test_every_short_cycle_is_stopped(before: list[int], period: int, data: st.DataObject) -> None:
    cycle = data.draw(st.lists(st.integers(40, 99), min_size=period, max_size=period))
    reason, _ = stopped(token_guard(), [*before, *cycle * 100])
    assert reason in ("repeated_token", "token_cycle")


# --- Audio -----------------------------------------------------------------------------------


def silence(seconds: float, level: float = 0.0) -> Samples:
    noise = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    return (level * noise).astype(np.float32)


def speech(seconds: float) -> Samples:
    return silence(seconds, 0.05)


def heard(*chunks: Samples) -> str:
    guard = AudioGuard(RATE_HZ)
    try:
        for chunk in chunks:
            guard.check(chunk)
    except BadSegmentError as error:
        return error.reason
    return ""


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number(bad: float) -> None:
    chunk = speech(0.5)
    chunk[100] = bad
    assert heard(speech(0.5), chunk) == "nan"


def test_opposite_infinities_are_no_numbers() -> None:
    assert heard(np.array([np.inf, -np.inf, 0.0], np.float32)) == "nan"


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([silence(3.1)], "silence"),
        ([silence(3.1, 0.0005)], "silence"),
        ([silence(2.9)], ""),
        ([silence(9.0, 0.002)], ""),
        ([speech(1.0), silence(2.9), speech(1.0), silence(2.9)], ""),
        ([np.concatenate((speech(0.5), silence(3.1), speech(0.5)))], "silence"),
        ([np.concatenate((speech(0.5), silence(1.6))), silence(1.6)], "silence"),
        ([np.concatenate((speech(0.5), silence(1.6))), speech(0.1), silence(1.6)], ""),
        ([silence(0.001)] * 3100, "silence"),
        ([silence(0.001)] * 2900, ""),
        ([np.empty(0, np.float32), speech(0.1)], ""),
    ],
)
def test_silence(chunks: list[Samples], reason: str) -> None:
    assert heard(*chunks) == reason


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=8), st.booleans())
def test_how_the_audio_is_cut_does_not_matter(cuts: list[int], is_long: bool) -> None:
    audio = np.concatenate((speech(1.0), silence(3.5 if is_long else 2.5), speech(1.0)))
    chunks = np.split(audio, sorted({cut * 3 % len(audio) for cut in cuts}))
    assert heard(*chunks) == ("silence" if is_long else "")
