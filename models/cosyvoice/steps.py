"""The decoding step of the Qwen2 language models of versions 2 and 3."""

from __future__ import annotations

from typing import Any

import torch

from models.base import ModelError

_TOLERANCE = 0.05
"""Of the largest value. Rounding differs by 1e-6 in float32 and 1e-2 in float16, a step that has
lost its past by more than the value itself."""


def install_steps(llm: Any) -> None:  # noqa: ANN401 - upstream has no types
    """Replace `forward_one_step` of an official `Qwen2LM` or `CosyVoice3LM`, and check it.

    Works around defect 11 (issues #1446, #1824, #1886): upstream passes a mask of one position with
    a filled cache, which transformers from 4.53 on takes to hide all earlier ones, so speech is
    garbled without any error. Without a mask every version attends to the whole past. The step also
    leaves out the head over the text vocabulary, a fifth of its time, whose result is not used.

    Raises:
        ModelError: `failed`, the installed transformers decodes step by step what it does not
            decode at once.
    """
    body = llm.llm.model.model

    def forward_one_step(
        xs: torch.Tensor,
        masks: torch.Tensor | None = None,  # noqa: ARG001 - upstream's signature
        cache: _Past | None = None,
    ) -> tuple[torch.Tensor, _Past]:
        outputs = body(
            inputs_embeds=xs,
            attention_mask=None,
            past_key_values=None if cache is None else cache.key_values,
            use_cache=True,
            return_dict=True,
        )
        return outputs.last_hidden_state, _Past(outputs.past_key_values)

    llm.llm.forward_one_step = forward_one_step
    if not steps_agree(llm):
        import transformers  # noqa: PLC0415 - only to name it

        raise ModelError(
            "failed",
            f"transformers {transformers.__version__} does not decode step by step what it decodes "
            "at once; use the version that models/cosyvoice/requirements.txt names",
        )


def steps_agree(llm: Any) -> bool:  # noqa: ANN401
    """Whether a sequence decoded in steps of one and of several gives what it gives at once."""
    with torch.inference_mode():
        inputs = llm.speech_embedding.weight[:9].unsqueeze(0)
        at_once, _ = llm.llm.forward_one_step(inputs)
        outputs, past = [], None
        for piece in inputs.split((4, 1, 1, 3), dim=1):
            output, past = llm.llm.forward_one_step(piece, None, past)
            outputs.append(output)
        difference = (torch.cat(outputs, dim=1) - at_once).abs().max()
        return bool(difference <= _TOLERANCE * at_once.abs().max())


class _Past:
    """Keys and values of the positions so far.

    `inference_bistream` reads the past's length by `cache[0][0].size(2)`, to build a square mask of
    all positions for each token (defect 18). There is no use for the mask: a length of 0 keeps it
    small, and newer caches, which cannot be indexed, work as well.
    """

    __slots__ = ("key_values",)

    def __init__(self, key_values: Any) -> None:  # noqa: ANN401
        self.key_values = key_values

    def __getitem__(self, index: int) -> _Past:
        return self

    def size(self, dimension: int) -> int:  # noqa: ARG002
        return 0
