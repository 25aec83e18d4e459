"""The numbers of a checkpoint's flow, and which of upstream's choices it makes."""

from __future__ import annotations

from dataclasses import dataclass

from models.cosyvoice.errors import CheckpointError
from models.native.configuration import Section

MEL_BANDS = 80
ESTIMATOR_INPUTS = 4 * MEL_BANDS
"""The mel so far, what the tokens say, the speaker, and the prompt's mel."""
STEPS = 10
"""Upstream's flows call their solver with this number of steps."""
NOISE_FRAMES = 50 * 300
"""Upstream's noise is a table of 300 seconds, the prompt included."""

_UPSAMPLING = 2
"""Upstream's encoder hard-codes it."""
_CLASSES = {"CausalMaskedDiffWithXvec": 2, "CausalMaskedDiffWithDiT": 3}
_MATCHING = "CausalConditionalCFM"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """`UpsampleConformerEncoder`."""

    size: int
    heads: int
    feed_forward: int
    blocks: int
    """At the tokens' rate; at the frames' rate upstream hard-codes the number."""
    chunk_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnetSpec:
    """`CausalConditionalDecoder` with one channel width, as version 2 has it."""

    size: int
    head_size: int
    heads: int
    blocks: int
    """Transformer blocks after each residual block."""
    middle_blocks: int
    chunk_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DitSpec:
    """`DiT`."""

    size: int
    depth: int
    heads: int
    head_size: int
    feed_forward: int
    lookahead_channels: int
    """Of the `PreLookaheadLayer` that stands where version 2 has its encoder."""
    chunk_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSpec:
    """A flow of version 2 or 3."""

    version: int
    vocabulary: int
    """Speech tokens."""
    token_size: int
    """Width of their embedding."""
    speaker_size: int
    lookahead_tokens: int
    frames_per_token: int
    guidance: float
    """Strength of the classifier-free guidance."""
    encoder: EncoderSpec | None
    """Of version 2."""
    estimator: UnetSpec | DitSpec

    @property
    def chunk_tokens(self) -> int:
        """Tokens that see each other; chunks lie on this grid, which the prompt begins."""
        return self.estimator.chunk_frames // self.frames_per_token

    @property
    def max_tokens(self) -> int:
        """Prompt and speech together: as many as there is noise for."""
        return NOISE_FRAMES // self.frames_per_token

    @classmethod
    def read(cls, configuration: Section) -> FlowSpec:
        """Take the numbers from a checkpoint's configuration.

        Raises:
            CheckpointError: it describes no flow of version 2 or 3, or one that no release has.
        """
        flow = configuration.section("flow")
        if flow.class_name not in _CLASSES:
            raise CheckpointError(
                f"the flow {flow.class_name!r} is not known here, only those of versions 2 and 3"
            )
        version = _CLASSES[flow.class_name]
        decoder = flow.section("decoder")
        _expect("flow.decoder", decoder.class_name, _MATCHING)
        matching = decoder.section("cfm_params").section("content")
        _expect("flow.decoder's solver", matching.text("solver"), "euler")
        _expect("flow.decoder's t_scheduler", matching.text("t_scheduler"), "cosine")
        _expect("flow.output_size", flow.integer("output_size"), MEL_BANDS)
        estimator = decoder.section("estimator")
        spec = cls(
            version=version,
            vocabulary=flow.integer("vocab_size"),
            token_size=flow.integer("input_size"),
            speaker_size=flow.integer("spk_embed_dim"),
            lookahead_tokens=flow.integer("pre_lookahead_len"),
            frames_per_token=flow.integer("token_mel_ratio"),
            guidance=matching.number("inference_cfg_rate"),
            encoder=_read_encoder(flow.section("encoder")) if version == 2 else None,  # noqa: PLR2004
            estimator=_read_unet(estimator)
            if version == 2  # noqa: PLR2004
            else _read_dit(estimator, flow.section("pre_lookahead_layer")),
        )
        _check(spec)
        return spec


def _read_encoder(encoder: Section) -> EncoderSpec:
    _expect("flow.encoder", encoder.class_name, "UpsampleConformerEncoder")
    _expect("flow.encoder.input_layer", encoder.text("input_layer"), "linear")
    _expect("flow.encoder.pos_enc_layer_type", encoder.text("pos_enc_layer_type"), "rel_pos_espnet")
    _expect(
        "flow.encoder.selfattention_layer_type",
        encoder.text("selfattention_layer_type"),
        "rel_selfattn",
    )
    _expect("flow.encoder.activation_type", encoder.text("activation_type", "swish"), "swish")
    size = encoder.integer("output_size")
    _expect("flow.encoder.input_size", encoder.integer("input_size"), size)
    return EncoderSpec(
        size=size,
        heads=encoder.integer("attention_heads"),
        feed_forward=encoder.integer("linear_units"),
        blocks=encoder.integer("num_blocks"),
        chunk_tokens=encoder.integer("static_chunk_size"),
    )


def _read_unet(estimator: Section) -> UnetSpec:
    _expect("flow.decoder.estimator", estimator.class_name, "CausalConditionalDecoder")
    _expect("flow.decoder.estimator.in_channels", estimator.integer("in_channels"), 4 * MEL_BANDS)
    _expect("flow.decoder.estimator.out_channels", estimator.integer("out_channels"), MEL_BANDS)
    _expect("flow.decoder.estimator.act_fn", estimator.text("act_fn"), "gelu")
    channels = estimator.integers("channels")
    if len(channels) != 1:
        raise CheckpointError(
            f"flow.decoder.estimator.channels is {list(channels)}, and causal ones have one width"
        )
    return UnetSpec(
        size=channels[0],
        head_size=estimator.integer("attention_head_dim"),
        heads=estimator.integer("num_heads"),
        blocks=estimator.integer("n_blocks"),
        middle_blocks=estimator.integer("num_mid_blocks"),
        chunk_frames=estimator.integer("static_chunk_size"),
    )


def _read_dit(estimator: Section, lookahead: Section) -> DitSpec:
    _expect("flow.decoder.estimator", estimator.class_name, "DiT")
    for name in ("mel_dim", "mu_dim", "spk_dim"):
        _expect(f"flow.decoder.estimator.{name}", estimator.integer(name), MEL_BANDS)
    _expect("flow.pre_lookahead_layer", lookahead.class_name, "PreLookaheadLayer")
    _expect("flow.pre_lookahead_layer.in_channels", lookahead.integer("in_channels"), MEL_BANDS)
    size = estimator.integer("dim")
    return DitSpec(
        size=size,
        depth=estimator.integer("depth"),
        heads=estimator.integer("heads"),
        head_size=estimator.integer("dim_head"),
        feed_forward=size * estimator.integer("ff_mult"),
        lookahead_channels=lookahead.integer("channels"),
        chunk_frames=estimator.integer("static_chunk_size"),
    )


def _check(spec: FlowSpec) -> None:
    """See that the numbers fit each other."""
    estimator, encoder = spec.estimator, spec.encoder
    if encoder is not None:
        _expect("flow.input_size", spec.token_size, encoder.size)
        _expect("flow.token_mel_ratio", spec.frames_per_token, _UPSAMPLING)
        chunk_frames = encoder.chunk_tokens * spec.frames_per_token
        _expect("flow.decoder.estimator.static_chunk_size", estimator.chunk_frames, chunk_frames)
    else:
        _expect("flow.input_size", spec.token_size, MEL_BANDS)
    for wrong, what in (
        (spec.vocabulary < 1, "vocab_size"),
        (spec.lookahead_tokens < 1, "pre_lookahead_len"),
        (spec.frames_per_token < 1, "token_mel_ratio"),
        (estimator.chunk_frames < 1, "static_chunk_size"),
        (estimator.chunk_frames % max(1, spec.frames_per_token), "static_chunk_size"),
        (estimator.heads < 1 or estimator.head_size < 1, "the estimator's heads"),
        (estimator.head_size % 2, "the estimator's heads"),
        (isinstance(estimator, DitSpec) and estimator.size % 16, "the estimator's dim"),
        (encoder is not None and encoder.size % max(1, encoder.heads), "the encoder's heads"),
        (encoder is not None and (encoder.heads < 1 or encoder.size % 2), "the encoder's heads"),
    ):
        if wrong:
            raise CheckpointError(f"the flow's numbers do not fit each other: {what}")


def _expect(name: str, found: object, expected: object) -> None:
    if found != expected:
        raise CheckpointError(f"{name} is {found!r}, and only {expected!r} is known here")
