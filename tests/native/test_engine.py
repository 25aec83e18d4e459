"""Many streams in one engine: each is what it is alone, and none holds up another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from spoken import LONG, LOOKAHEAD, TEXT, VOICE, Watch, open_stream, opened, speak, speak_together
from spoken import tiny_checkpoint as make_tiny

from models.base import ModelError, Samples
from models.cosyvoice import request_text
from models.native.model import NativeModel
from models.native.session import TOKEN_RATE_HZ

RATE_HZ = 24000
REQUESTS = [
    (LONG, VOICE, 1),
    (TEXT, "clone", 2),
    (TEXT * 2, "中文男", 3),
    (TEXT * 2, "guilty", 4),
    (TEXT, VOICE, 5),
    (LONG, "clone", 6),
    (TEXT * 3, "英文女", 7),
    (TEXT, VOICE, 8),
]


@pytest.fixture(scope="module")
def directory(version: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(version, tmp_path_factory.mktemp("spoken") / f"v{version}")


@pytest.fixture(scope="module")
def loaded(directory: Path) -> Iterator[NativeModel]:
    model = opened(directory, hops="growing")
    yield model
    model.close()


@pytest.fixture
def model(loaded: NativeModel) -> Iterator[NativeModel]:
    yield loaded
    loaded.take_incidents()


@pytest.fixture
def watch(model: NativeModel, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(model, monkeypatch)


def n_free(model: NativeModel) -> int:
    """Slots of the language model, once everything that was asked for before has been obeyed."""
    speak(model, TEXT)
    return model._engine._stages.lm.n_free_slots


def all_slots(model: NativeModel) -> int:
    return model.capabilities.slots + model.capabilities.parked


# --- Company ---------------------------------------------------------------------------------


class Alone(NamedTuple):
    """What requests become that have the engine for themselves."""

    sounds: list[Samples]
    tokens: dict[int, list[int]]


@pytest.fixture(scope="module")
def alone(loaded: NativeModel) -> Alone:
    with pytest.MonkeyPatch.context() as patch:
        watch = Watch(loaded, patch)
        return Alone([speak(loaded, *request) for request in REQUESTS], watch.tokens)


def test_alone_and_among_others(model: NativeModel, alone: Alone, watch: Watch) -> None:
    together = speak_together(model, REQUESTS)
    assert watch.tokens == alone.tokens
    assert max(map(len, watch.ticks)) > len(REQUESTS) // 2  # they did share batches
    for samples, expected in zip(together, alone.sounds, strict=True):
        np.testing.assert_allclose(samples, expected, atol=1e-4)


def test_the_sound_of_version_3_does_not_depend_on_the_lengths_of_chunks(
    version: int, directory: Path, alone: Alone
) -> None:
    if version == 2:
        pytest.skip("upstream's joins are where chunks end")
    other = opened(directory)
    try:
        free = speak_together(other, REQUESTS)
    finally:
        other.close()
    for samples, expected in zip(free, alone.sounds, strict=True):
        np.testing.assert_allclose(samples, expected, atol=1e-4)


def test_the_fifth_request_is_heard_as_soon_as_the_first(model: NativeModel, watch: Watch) -> None:
    for seed in range(5):
        speak(model, LONG, seed=seed)
    assert watch.steps_before_sound == [25 + LOOKAHEAD] * 5


def test_hops_grow_as_upstreams(model: NativeModel) -> None:
    lengths = [len(chunk.samples) for chunk in open_stream(model, LONG * 2)]
    held_back = RATE_HZ // 50 * 8
    assert lengths[0] == 24000 - held_back
    assert lengths[1:4] == [48000, 96000, 96000]


def test_any_seed_and_none(model: NativeModel) -> None:
    for seed in (0, -1, 2**64 + 5):
        np.testing.assert_array_equal(speak(model, TEXT, seed=seed), speak(model, TEXT, seed=seed))
    first, second = (
        np.concatenate([chunk.samples for chunk in open_stream(model, TEXT, seed=None)])
        for _ in range(2)
    )
    assert len(first) != len(second) or (first != second).any()


# --- Listeners -------------------------------------------------------------------------------


def test_a_stream_that_is_closed_frees_its_slot_and_takes_no_step(
    model: NativeModel, watch: Watch
) -> None:
    stream = open_stream(model, LONG * 4, seed=9)
    next(stream)
    stream.close()
    assert n_free(model) == all_slots(model)
    seed = next(iter(watch.tokens))
    n_ticks = len(watch.ticks)
    speak(model, TEXT)
    assert len(watch.ticks) > n_ticks
    assert not any(seed in tick for tick in watch.ticks[n_ticks:])
    assert not model._engine._sessions


def test_a_stream_that_was_never_pulled_costs_nothing(model: NativeModel, watch: Watch) -> None:
    stream = open_stream(model, LONG)
    stream.close()
    assert n_free(model) == all_slots(model)
    assert len(watch.tokens) == 1


def test_a_slow_reader_holds_its_own_stream_only(model: NativeModel, watch: Watch) -> None:
    text = LONG * 3
    alone = speak(model, text, seed=9)
    watch.take_tokens()
    assert len(alone) / RATE_HZ > 13
    slow = open_stream(model, text, seed=9)
    heard = [next(slow).samples]
    for request in REQUESTS[-3:]:
        assert len(speak(model, *request))
    (session,) = model._engine._sessions.values()
    limit_s = model.capabilities.run_ahead_s
    assert limit_s <= session.handle.queued_samples / RATE_HZ <= limit_s + 4
    tokens = watch.tokens[session.token_seed]
    ahead_s = len(tokens) / TOKEN_RATE_HZ - len(heard[0]) / RATE_HZ
    assert ahead_s <= 10.5
    assert len(tokens) / TOKEN_RATE_HZ < len(alone) / RATE_HZ - 5
    heard += [chunk.samples for chunk in slow]
    np.testing.assert_allclose(np.concatenate(heard), alone, atol=1e-4)


def test_more_streams_than_slots_take_turns(directory: Path) -> None:
    model = opened(directory, slots=1, hops="growing")
    try:
        requests = [(TEXT, VOICE, seed) for seed in range(1, 12)]
        assert len(requests) > all_slots(model)
        found = speak_together(model, requests)
        assert [len(samples) for samples in found] == [
            len(speak(model, *request)) for request in requests
        ]
    finally:
        model.close()


# --- Streamed text ---------------------------------------------------------------------------


def pieces(text: str, size: int) -> Iterator[str]:
    for begin in range(0, len(text), size):
        yield text[begin : begin + size]


def test_speech_is_heard_before_the_text_ends(model: NativeModel) -> None:
    heard = threading.Event()

    def text() -> Iterator[str]:
        yield from ["你好，世界。", "今天天气很好，我们走。"] * 2
        assert heard.wait(30)
        yield "再见。"

    lengths = []
    for chunk in open_stream(model, text(), "clone"):
        heard.set()
        lengths.append(len(chunk.samples))
    assert len(lengths) > 1


@pytest.mark.parametrize("size", [1, 4, 100])
def test_what_is_said_does_not_depend_on_how_the_text_comes(
    model: NativeModel, watch: Watch, size: int
) -> None:
    speak(model, pieces(LONG, 2), "clone")
    expected = watch.take_tokens()
    speak(model, pieces(LONG, size), "clone")
    assert watch.take_tokens() == expected
    assert all(map(len, expected.values()))


def test_a_long_text_is_spoken_in_passages(
    model: NativeModel, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_text, "_PASSAGE_TOKENS", 10)
    # A tiny checkpoint's tokenizer has a token for each byte.
    text = "今天，我们走。" * 3
    length = len(speak(model, pieces(text, 3)))
    assert len(watch.tokens) == 3
    assert length == sum(map(len, watch.tokens.values())) * 960


def test_streamed_text_alone_and_among_others(model: NativeModel, watch: Watch) -> None:
    texts = [LONG, TEXT * 3, TEXT]

    def requests() -> list[tuple[Iterator[str], str, int]]:
        return [(pieces(text, 3), "clone", seed) for seed, text in enumerate(texts)]

    for request in requests():
        speak(model, *request)
    alone = watch.take_tokens()
    speak_together(model, requests())
    assert watch.take_tokens() == alone


def test_an_error_of_the_text_reaches_the_caller(model: NativeModel) -> None:
    def broken() -> Iterator[str]:
        yield "你好，世界，你好。"
        raise ConnectionError("the text broke off")

    with pytest.raises(ConnectionError, match="broke off"):
        speak(model, broken())
    assert n_free(model) == all_slots(model)


@pytest.mark.parametrize("text", ["", "。！", "<|endoftext|>"])
@pytest.mark.parametrize("how", [str, lambda text: iter([text])], ids=["whole", "streamed"])
def test_nothing_to_say(model: NativeModel, text: str, how: Callable[[str], str]) -> None:
    with pytest.raises(ModelError) as failure:
        speak(model, how(text))
    assert failure.value.code == "text_unspeakable"


def test_a_stream_that_waits_for_text_can_be_closed(model: NativeModel) -> None:
    go_on = threading.Event()

    def text() -> Iterator[str]:
        yield from ["你好，世界。", "今天天气很好，我们走。"] * 2
        go_on.wait(30)

    stream = open_stream(model, text(), "clone")
    samples: Samples = next(stream).samples
    assert len(samples)
    stream.close()
    assert n_free(model) == all_slots(model)
    go_on.set()
