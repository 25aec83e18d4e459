"""Makes a random Qwen2 language model of version 2 or 3 end when its text is used up.

Real weights do; random ones would go on for ever. Layer 0's head 0 attends uniformly and reads
marker dimensions out of the embeddings, so the residual stream holds the share of text tokens and
of speech tokens so far, and the row of the end token in `llm_decoder` turns from -inf-like to
+inf-like exactly when n_speech >= rate * n_text, prompt included. That also only holds while
attention sees the whole history: a decoding step that loses its cache changes the length.
"""

from __future__ import annotations

import torch

from models.random_checkpoint.weights import RandomSource, StateDict

_CONSTANT, _TEXT, _SPEECH, _START = 0, 1, 2, 3  # dimensions that mark what a token is
_TEXT_SHARE, _SPEECH_SHARE, _START_SHARE = 4, 5, 6  # and those that head 0 writes
_RESERVED = 7
_BODY = "llm.model.model."
_FIRST = f"{_BODY}layers.0.self_attn."
_CERTAIN = 1e6
"""Times a share (at least 1/N) it makes any other logit irrelevant."""


def control_length(
    llm: StateDict,
    *,
    end_id: int,
    first_special_id: int,
    speech_tokens_per_text_token: float,
    key_value_heads: int,
    source: RandomSource,
) -> None:
    """Rewrite `llm` in place so that it ends by itself.

    Args:
        llm: the state dict of llm.pt.
        end_id: the speech token that upstream takes as the end.
        first_special_id: speech tokens from here on are never sampled, but for the end.
        speech_tokens_per_text_token: how long it speaks.
        key_value_heads: of the model's attention.
        source: of the random rows.
    """
    for name, tensor in llm.items():
        if name == "llm_decoder.weight" or "_proj." in name:
            llm[name] = tensor.clone(
                memory_format=torch.contiguous_format
            )  # it may be an overlapping view
    _mark_embeddings(llm, first_special_id, source)
    _reserve_dimensions(llm)
    _average_in_head_0(llm, key_value_heads)
    decoder = llm["llm_decoder.weight"]
    decoder[:, :_RESERVED] = 0
    decoder[first_special_id:] = 0
    decoder[first_special_id:, _CONSTANT] = -1e4
    decoder[end_id] = 0
    decoder[end_id, _TEXT_SHARE] = -_CERTAIN * speech_tokens_per_text_token
    decoder[end_id, _SPEECH_SHARE] = _CERTAIN
    decoder[end_id, _START_SHARE] = _CERTAIN / 2  # half a token: a tie is an end
    if "llm_decoder.bias" in llm:
        llm["llm_decoder.bias"].zero_()


def _rows(
    count: int, size: int, source: RandomSource, *, text: int = 0, speech: int = 0
) -> torch.Tensor:
    """Embeddings of equal length, so that the norm before attention leaves the markers equal."""
    rows = source.normal(count, size)
    rows[:, :_RESERVED] = 0
    rest = size - 1.0 - text - speech
    rows *= (rest / rows.pow(2).sum(1, keepdim=True)).sqrt()
    rows[:, _CONSTANT], rows[:, _TEXT], rows[:, _SPEECH] = 1, text, speech
    return rows


def _mark_embeddings(llm: StateDict, first_special_id: int, source: RandomSource) -> None:
    table = f"{_BODY}embed_tokens.weight"
    words, size = llm[table].shape
    llm[table] = _rows(words, size, source, text=1)
    llm["llm.model.lm_head.weight"] = llm[table]  # tied, as in Qwen2-0.5B
    speech_ids = llm["speech_embedding.weight"].shape[0]
    speech = llm["speech_embedding.weight"] = _rows(speech_ids, size, source, speech=1)
    if "llm_embedding.weight" in llm:
        specials = llm["llm_embedding.weight"] = _rows(2, size, source)
    else:  # version 3 keeps them at the end of the speech tokens
        specials = speech[first_special_id:]
        specials[:] = _rows(speech_ids - first_special_id, size, source)
    specials[0, _START], specials[0, _CONSTANT] = 1, 0


def _reserve_dimensions(llm: StateDict) -> None:
    """Nobody else writes the reserved dimensions of the residual stream."""
    for name, tensor in llm.items():
        if name.startswith(_BODY) and name.endswith(("o_proj.weight", "down_proj.weight")):
            tensor[:_RESERVED] = 0


def _average_in_head_0(llm: StateDict, key_value_heads: int) -> None:
    """Without a query all keys weigh the same: the head's value is the average of the markers."""
    head_size = llm[f"{_FIRST}k_proj.weight"].shape[0] // key_value_heads
    for kind in ("weight", "bias"):
        llm[f"{_FIRST}q_proj.{kind}"][:head_size] = 0
        llm[f"{_FIRST}v_proj.{kind}"][:3] = 0
    value, output = llm[f"{_FIRST}v_proj.weight"], llm[f"{_FIRST}o_proj.weight"]
    output[:, :3] = 0
    shares = {_TEXT: _TEXT_SHARE, _SPEECH: _SPEECH_SHARE, _START: _START_SHARE}
    for i, (marker, share) in enumerate(shares.items()):
        value[i, marker] = 1
        output[share, i] = 1
