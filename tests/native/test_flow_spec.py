"""A flow's numbers come from the YAML file, and its weights fit them, or it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lively_flow import with_flow

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.errors import CheckpointError
from models.native.configuration import read_configuration
from models.native.flow.flow import Flow
from models.native.flow.spec import DitSpec, EncoderSpec, FlowSpec, UnetSpec
from models.native.weights import read_tensors


def read(checkpoint: Path, tmp_path: Path, old: str, new: str) -> FlowSpec:
    """The spec of a checkpoint's YAML file with something else in it."""
    text = Checkpoint.open(checkpoint).yaml_path.read_text()
    flow, hift = text.split("hift:")
    assert old in flow
    (tmp_path / "changed.yaml").write_text(flow.replace(old, new) + "hift:" + hift)
    return FlowSpec.read(read_configuration(tmp_path / "changed.yaml"))


def test_numbers(version: int, checkpoint: Path) -> None:
    spec = FlowSpec.read(read_configuration(Checkpoint.open(checkpoint).yaml_path))
    assert (spec.version, spec.vocabulary, spec.guidance) == (version, 6561, 0.7)
    assert (spec.lookahead_tokens, spec.frames_per_token, spec.chunk_tokens) == (3, 2, 25)
    assert spec.max_tokens == 7500
    if version == 2:
        assert spec.encoder == EncoderSpec(
            size=512, heads=8, feed_forward=64, blocks=1, chunk_tokens=25
        )
        assert spec.estimator == UnetSpec(
            size=32, head_size=8, heads=2, blocks=1, middle_blocks=1, chunk_frames=50
        )
    else:
        assert spec.encoder is None
        assert spec.estimator == DitSpec(
            size=32,
            depth=2,
            heads=2,
            head_size=16,
            feed_forward=64,
            lookahead_channels=32,
            chunk_frames=50,
        )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("solver: 'euler'", "solver: 'heun'", "solver is 'heun'"),
        ("t_scheduler: 'cosine'", "t_scheduler: 'linear'", "t_scheduler is 'linear'"),
        ("CausalConditionalCFM", "ConditionalCFM", "ConditionalCFM"),
        ("CausalMaskedDiff", "MaskedDiff", "only those of versions 2 and 3"),
        ("vocab_size: 6561", "vocab_size: 0", "vocab_size"),
        ("pre_lookahead_len: 3", "pre_lookahead_len: 0", "pre_lookahead_len"),
        ("inference_cfg_rate: 0.7", "inference_rate: 0.7", "does not say inference_cfg_rate"),
        ("<chunk_size> * <token_mel_ratio>", "<chunk_size> * 0", "static_chunk_size"),
    ],
)
def test_what_no_release_has(
    checkpoint: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(checkpoint, tmp_path, old, new)


NOT_OF_A_VERSION = {
    2: [
        ("channels: [32]", "channels: [32, 32]", "have one width"),
        ("static_chunk_size: !ref <chunk_size>\n", "static_chunk_size: 20\n", "static_chunk"),
        ("rel_pos_espnet", "rel_pos", "pos_enc_layer_type is 'rel_pos'"),
        ("act_fn: 'gelu'", "act_fn: 'snake'", "act_fn is 'snake'"),
        ("attention_heads: 8", "attention_heads: 7", "encoder's heads"),
    ],
    3: [
        ("mu_dim: 80", "mu_dim: 40", "mu_dim is 40"),
        ("dim_head: 16", "dim_head: 15", "estimator's heads"),
        ("dim: 32", "dim: 40", "estimator's dim"),
    ],
}


def test_what_no_release_of_the_version_has(version: int, checkpoint: Path, tmp_path: Path) -> None:
    for old, new, message in NOT_OF_A_VERSION[version]:
        with pytest.raises(CheckpointError, match=message):
            read(checkpoint, tmp_path, old, new)


def test_weights_that_do_not_fit(version: int, checkpoint: Path, tmp_path: Path) -> None:
    tensors = read_tensors(checkpoint / "flow.pt")
    block = {2: "mid_blocks.0.0.res_conv", 3: "transformer_blocks.1.attn.to_q"}[version]
    name = f"decoder.estimator.{block}.weight"
    without = {key: tensor for key, tensor in tensors.items() if key != name}
    for number, (state, message) in enumerate(
        [
            (without, rf"flow\.pt: lacks {name}"),
            ({**tensors, name: torch.zeros(3, 4)}, rf"{name} \(3, 4\) instead of"),
            ({**tensors, "encoder.more": torch.zeros(1)}, r"nothing wants, encoder\.more"),
        ]
    ):
        directory = with_flow(checkpoint, tmp_path / str(number), state)
        with pytest.raises(CheckpointError, match=message):
            Flow.open(Checkpoint.open(directory))
