"""Makes a random language model of version 1 end when its text is used up.

The same idea as in `length_control`, on another body: relative attention, and layer norms instead
of RMS norms. A layer norm mixes all dimensions, so every token has exactly one marker, far bigger
than anything else in it: its mean and deviation are then the same for all tokens, and the norm's
own gain and offset can undo it. The small offset that remains is measured by a dimension that is
always zero, and taken off.
"""

from __future__ import annotations

import math

from models.random_checkpoint.weights import StateDict

_TEXT, _SPEECH, _START, _OTHER = 0, 1, 2, 3  # dimensions that mark what a token is
_TEXT_SHARE, _SPEECH_SHARE, _START_SHARE = 4, 5, 6  # and those that head 0 writes
_ZERO = 7
_RESERVED = 8
_MARKERS = slice(0, 4)
_END_ID = 4096
_CERTAIN = 1e6
_UNTOUCHED = ("text_embedding.", "text_encoder.")
_FIRST = "llm.encoders.0.self_attn."


def control_transformer_length(
    llm: StateDict, *, speech_tokens_per_text_token: float, heads: int
) -> None:
    """Rewrite `llm` in place so that it ends by itself.

    Args:
        llm: the state dict of llm.pt.
        speech_tokens_per_text_token: how long it speaks.
        heads: of the language model's attention.
    """
    for name, tensor in llm.items():
        if not name.startswith(_UNTOUCHED):
            llm[name] = tensor.contiguous()  # an overlapping view cannot be written to
    size = llm["llm_decoder.weight"].shape[1]
    marker = 300.0 * math.sqrt(size)
    _mark_inputs(llm)
    _pass_embedding(llm, size, marker)
    _reserve_dimensions(llm)
    for name in list(llm):
        if name.startswith("llm.encoders.") and name.endswith(("norm1.weight", "norm2.weight")):
            _undo_norm(llm, name.removesuffix(".weight"), size, marker)
    _undo_norm(llm, "llm.after_norm", size, marker)
    _average_in_head_0(llm, size // heads, marker)
    decoder, bias = llm["llm_decoder.weight"], llm["llm_decoder.bias"]
    decoder[:, :_RESERVED] = 0
    decoder[_END_ID] = 0
    bias[_END_ID] = 0
    shares = {
        _TEXT_SHARE: -speech_tokens_per_text_token,
        _SPEECH_SHARE: 1.0,
        _START_SHARE: 0.5,  # half a token: a tie is an end
    }
    for share, weight in shares.items():
        decoder[_END_ID, share] = _CERTAIN * weight
    decoder[_END_ID, _ZERO] = -_CERTAIN * sum(shares.values())


def _mark_inputs(llm: StateDict) -> None:
    for layer, kind in (("text_encoder_affine_layer", _TEXT), ("spk_embed_affine_layer", _OTHER)):
        llm[f"{layer}.weight"][:_RESERVED] = 0
        llm[f"{layer}.bias"][:_RESERVED] = 0
        llm[f"{layer}.bias"][kind] = 1
    start_and_task, speech = llm["llm_embedding.weight"], llm["speech_embedding.weight"]
    for table in (start_and_task, speech):
        table[:, :_RESERVED] = 0
    start_and_task[0, _START] = start_and_task[1, _OTHER] = 1
    speech[:, _SPEECH] = 1


def _pass_embedding(llm: StateDict, size: int, marker: float) -> None:
    """Linear layer, norm, ReLU, times sqrt(size): markers come out big, the rest about 1."""
    weight = llm["llm.embed.out.0.weight"]
    weight[:_RESERVED] = 0
    weight[_RESERVED:, :_RESERVED] = 0
    llm["llm.embed.out.0.bias"][:_RESERVED] = 0
    for kind in range(size)[_MARKERS]:
        weight[kind, kind] = marker
    _undo_norm(llm, "llm.embed.out.1", size, marker)
    gain, offset = llm["llm.embed.out.1.weight"], llm["llm.embed.out.1.bias"]
    gain /= math.sqrt(size)
    offset /= math.sqrt(size)
    gain[_MARKERS] *= marker
    offset[_MARKERS] *= marker
    offset[:_RESERVED] -= 1.0  # the ReLU then leaves exactly zero where there is no marker


def _undo_norm(llm: StateDict, name: str, size: int, marker: float) -> None:
    """Gain and offset by which a norm passes all on as it was, but markers as 1."""
    mean, deviation = marker / size, marker * math.sqrt(size - 1) / size
    llm[f"{name}.weight"][:] = deviation
    llm[f"{name}.bias"][:] = mean
    llm[f"{name}.weight"][_MARKERS] = deviation / marker
    llm[f"{name}.bias"][_MARKERS] = mean / marker


def _reserve_dimensions(llm: StateDict) -> None:
    """Nobody else writes the reserved dimensions of the residual stream."""
    for name, tensor in llm.items():
        if name.startswith("llm.encoders.") and (".linear_out." in name or ".w_2." in name):
            tensor[:_RESERVED] = 0


def _average_in_head_0(llm: StateDict, head_size: int, marker: float) -> None:
    """Without a query all keys weigh the same: the head's value is the average of the markers."""
    llm[f"{_FIRST}linear_q.weight"][:head_size] = 0
    llm[f"{_FIRST}linear_q.bias"][:head_size] = 0
    llm[f"{_FIRST}pos_bias_u"][0] = 0
    llm[f"{_FIRST}pos_bias_v"][0] = 0
    value, output = llm[f"{_FIRST}linear_v.weight"], llm[f"{_FIRST}linear_out.weight"]
    value[:3] = 0
    llm[f"{_FIRST}linear_v.bias"][:3] = 0
    output[:, :3] = 0
    shares = {_TEXT: _TEXT_SHARE, _SPEECH: _SPEECH_SHARE, _START: _START_SHARE}
    for i, (kind, share) in enumerate(shares.items()):
        value[i, kind] = 1
        value[i, _ZERO] = -1 / marker
        output[share, i] = 1
