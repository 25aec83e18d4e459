"""Defect 11: a language model that decodes step by step what it decodes at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.cosyvoice.model import CosyVoiceModel
from models.cosyvoice.steps import install_steps, steps_agree


@pytest.fixture
def llm(version: int, model: CosyVoiceModel) -> Any:
    if version == 1:
        pytest.skip("version 1 has a language model of its own")
    return model._official.model.llm


def decoded(llm: Any, inputs: torch.Tensor, sizes: tuple[int, ...]) -> torch.Tensor:
    outputs, past = [], None
    with torch.inference_mode():
        for piece in inputs.split(sizes, dim=1):
            output, past = llm.llm.forward_one_step(piece, torch.ones(1, 1, 1), past)
            outputs.append(llm.llm_decoder(output))
    return torch.cat(outputs, dim=1)


def test_steps_give_what_the_official_model_gives_at_once(llm: Any) -> None:
    inputs = torch.randn(1, 20, llm.llm_input_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        hidden, _ = llm.llm(inputs, torch.tensor([20]))
        at_once = llm.llm_decoder(hidden).numpy()
    for sizes in ((20,), (1,) * 20, (5, *(1,) * 9, 3, 1, 1, 1)):
        stepwise = decoded(llm, inputs, sizes).numpy()
        np.testing.assert_allclose(stepwise, at_once, atol=2e-4, rtol=2e-4)


def test_a_step_that_loses_its_past_is_noticed(llm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As upstream's does from transformers 4.53 on."""
    assert steps_agree(llm)
    whole = llm.llm.forward_one_step

    def forgetful(inputs: torch.Tensor, masks: object = None, cache: object = None) -> Any:
        return whole(inputs, masks, None)

    monkeypatch.setattr(llm.llm, "forward_one_step", forgetful)
    assert not steps_agree(llm)


def test_a_transformers_that_decodes_wrongly_is_refused(
    llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = llm.llm.model.model
    forward = body.forward
    monkeypatch.setattr(
        llm.llm, "forward_one_step", llm.llm.forward_one_step
    )  # put back at the end
    monkeypatch.setattr(
        body, "forward", lambda **inputs: forward(**{**inputs, "past_key_values": None})
    )
    with pytest.raises(ModelError, match=r"transformers \d.* does not decode step by step"):
        install_steps(llm)


def test_upstream_builds_no_square_mask(llm: Any) -> None:
    """Defect 18: it reads the past's length to build one for each token of streamed text."""
    with torch.inference_mode():
        _, past = llm.llm.forward_one_step(torch.zeros(1, 7, llm.llm_input_size))
    assert past[0][0].size(2) == 0
