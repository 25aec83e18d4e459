"""Speech that goes wrong is tried again while nothing has been heard, and ended afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_streams import Steps, joined, steps
from tiny import TEXT, n_samples

from models.base import ModelError, Samples
from models.cosyvoice.model import CosyVoiceModel

__all__ = ["steps"]

SPEAK = Callable[..., list[Samples]]


@pytest.fixture
def sound(model: CosyVoiceModel, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Factors on the vocoder's output, call by call; the last one stays."""
    factors = [1.0]
    vocoder = model._official.model.hift
    original = vocoder.inference

    def inference(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        samples, source = original(**inputs)
        factor = factors.pop(0) if len(factors) > 1 else factors[0]
        return samples * factor, source

    monkeypatch.setattr(vocoder, "inference", inference)
    return factors


def test_scores_that_are_no_numbers_are_tried_again(
    model: CosyVoiceModel, speak: SPEAK, steps: Steps
) -> None:
    first = joined(speak(TEXT))
    steps.count = 0
    steps.nan_steps = range(5, 6)
    again = joined(speak(TEXT))
    assert model.take_incidents() == {"nan": 1, "retry": 1}
    assert len(first) == len(again)
    assert (first != again).any()  # another seed


def test_twice_is_too_often(model: CosyVoiceModel, speak: SPEAK, steps: Steps) -> None:
    steps.nan_steps = range(1, 1000)
    with pytest.raises(ModelError, match="nan") as failure:
        speak(TEXT)
    assert failure.value.code == "failed"
    assert model.take_incidents() == {"nan": 2, "retry": 1}


def test_streamed_text_is_tried_again_with_what_has_come(
    version: int, model: CosyVoiceModel, speak: SPEAK, steps: Steps
) -> None:
    if version == 1:
        pytest.skip("version 1 takes no stream of text")
    unharmed = speak(iter(TEXT * 2))
    steps.count = 0
    steps.nan_steps = range(20, 21)
    assert len(joined(speak(iter(TEXT * 2)))) == len(joined(unharmed))
    assert model.take_incidents() == {"nan": 1, "retry": 1}


def test_samples_that_are_no_numbers_fail_once_heard(
    model: CosyVoiceModel, long_text: str, speak: SPEAK, sound: list[float]
) -> None:
    sound[:] = [1.0, np.nan]
    with pytest.raises(ModelError, match="nan"):
        speak(long_text)
    assert model.take_incidents() == {"nan": 1}


def test_silence_is_tried_again_and_ended_later_on(
    version: int, model: CosyVoiceModel, speak: SPEAK, sound: list[float]
) -> None:
    if version == 1:
        pytest.skip("its windows make no difference to this")
    text = TEXT * 6
    unharmed = joined(speak(text))
    sound[:] = [1.0, 0.0]
    assert 0 < len(joined(speak(text))) < len(unharmed)
    assert model.take_incidents() == {"silence": 1}


def repeating(tokens: list[int]) -> Callable[..., Iterator[int]]:
    def inference(**inputs: Any) -> Iterator[int]:
        yield from tokens

    return inference


def test_a_stuck_token_before_anything_is_heard(
    model: CosyVoiceModel, speak: SPEAK, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Version 1's first window is longer than the guard's patience; the others' needs a long prompt.
    monkeypatch.setattr(model._official.model.llm, "inference", repeating([7] * 1000))
    with pytest.raises(ModelError, match="repeated_token"):
        speak(TEXT * 2, voice="long")
    assert model.take_incidents() == {"repeated_token": 2, "retry": 1}


def test_a_stuck_token_later_on(
    version: int, model: CosyVoiceModel, speak: SPEAK, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [*range(200), *([7] * 1000)]
    monkeypatch.setattr(model._official.model.llm, "inference", repeating(tokens))
    heard = joined(speak(TEXT * 10))
    assert 0 < len(heard) <= n_samples(version, len(tokens))
    assert model.take_incidents() == {"repeated_token": 1}


def test_long_silences_of_version_3_are_left_out(
    version: int, model: CosyVoiceModel, speak: SPEAK, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most five of its silent tokens in a row, as upstream."""
    if version != 3:
        pytest.skip("only version 3's silent tokens are known")
    spoken = [*range(100, 120), *([1, 2, 28, 29] * 5), *range(200, 220)]
    monkeypatch.setattr(model._official.model.llm, "inference", repeating(spoken))
    assert len(joined(speak(TEXT))) == (20 + 5 + 20) * 960
