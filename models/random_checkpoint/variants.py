"""The variants of random checkpoints and their sizes. The full sizes are the official ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Family: TypeAlias = Literal["cosyvoice1", "cosyvoice2", "cosyvoice3"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Transformer:
    """An encoder of `cosyvoice.transformer`."""

    size: int
    heads: int
    linear_units: int
    blocks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Qwen:
    """The body of the language model of versions 2 and 3, as its config.json names the sizes."""

    hidden_size: int
    intermediate_size: int
    layers: int
    attention_heads: int
    key_value_heads: int
    vocabulary: int
    first_special: int
    """Id of `<|endoftext|>`. The real one is 151643, and upstream's version 3 relies on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unet:
    """The flow's estimator of versions 1 and 2."""

    channels: tuple[int, ...]
    head_size: int
    blocks: int
    middle_blocks: int
    heads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Dit:
    """The flow's estimator of version 3, and the lookahead layer before it."""

    lookahead_channels: int
    size: int
    depth: int
    heads: int
    head_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Hift:
    """The vocoder."""

    channels: int
    pitch_channels: int
    kernels: tuple[int, ...]
    source_kernels: tuple[int, ...]
    dilations: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant1:
    """Version 1: Conformer and Transformer language model, windowed flow."""

    family: Literal["cosyvoice1"] = "cosyvoice1"
    tiny: bool
    text_input_size: int
    text_vocabulary: int = 51866
    text_encoder: Transformer
    lm: Transformer
    flow_encoder: Transformer
    unet: Unet
    hift: Hift


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant2:
    """Version 2: Qwen2 language model, causal flow."""

    family: Literal["cosyvoice2"] = "cosyvoice2"
    tiny: bool
    qwen: Qwen
    flow_encoder: Transformer
    unet: Unet
    hift: Hift


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant3:
    """Version 3: Qwen2 language model, DiT flow, causal vocoder."""

    family: Literal["cosyvoice3"] = "cosyvoice3"
    tiny: bool
    qwen: Qwen
    dit: Dit
    hift: Hift


Variant: TypeAlias = Variant1 | Variant2 | Variant3

_QWEN2 = Qwen(
    hidden_size=896,
    intermediate_size=4864,
    layers=24,
    attention_heads=14,
    key_value_heads=2,
    vocabulary=151936,
    first_special=151643,
)
_HIFT = Hift(
    channels=512,
    pitch_channels=512,
    kernels=(3, 7, 11),
    source_kernels=(7, 7, 11),
    dilations=(1, 3, 5),
)
_TINY_HIFT = Hift(
    channels=32, pitch_channels=16, kernels=(3,), source_kernels=(3, 3, 3), dilations=(1,)
)
_FLOW_ENCODER = Transformer(size=512, heads=8, linear_units=2048, blocks=6)

VARIANTS: dict[str, Variant] = {
    "cosyvoice1": Variant1(
        tiny=False,
        text_input_size=512,
        text_encoder=Transformer(size=1024, heads=16, linear_units=4096, blocks=6),
        lm=Transformer(size=1024, heads=16, linear_units=4096, blocks=14),
        flow_encoder=_FLOW_ENCODER,
        unet=Unet(channels=(256, 256), head_size=64, blocks=4, middle_blocks=12, heads=8),
        hift=Hift(
            channels=512,
            pitch_channels=512,
            kernels=(3, 7, 11),
            source_kernels=(7, 11),
            dilations=(1, 3, 5),
        ),
    ),
    "cosyvoice1-tiny": Variant1(
        tiny=True,
        text_input_size=16,
        text_encoder=Transformer(size=16, heads=2, linear_units=32, blocks=1),
        lm=Transformer(size=16, heads=2, linear_units=32, blocks=2),
        flow_encoder=Transformer(size=32, heads=2, linear_units=64, blocks=1),
        unet=Unet(channels=(32, 32), head_size=8, blocks=1, middle_blocks=1, heads=2),
        hift=Hift(
            channels=32, pitch_channels=16, kernels=(3,), source_kernels=(3, 3), dilations=(1,)
        ),
    ),
    "cosyvoice2": Variant2(
        tiny=False,
        qwen=_QWEN2,
        flow_encoder=_FLOW_ENCODER,
        unet=Unet(channels=(256,), head_size=64, blocks=4, middle_blocks=12, heads=8),
        hift=_HIFT,
    ),
    "cosyvoice2-tiny": Variant2(
        tiny=True,
        qwen=Qwen(
            hidden_size=32,
            intermediate_size=64,
            layers=2,
            attention_heads=4,
            key_value_heads=2,
            vocabulary=640,
            first_special=256,
        ),
        # Upstream's encoder of version 2 hard-codes 512 channels and its four upsampled blocks.
        flow_encoder=Transformer(size=512, heads=8, linear_units=64, blocks=1),
        unet=Unet(channels=(32,), head_size=8, blocks=1, middle_blocks=1, heads=2),
        hift=_TINY_HIFT,
    ),
    "cosyvoice3": Variant3(
        tiny=False,
        qwen=_QWEN2,
        dit=Dit(lookahead_channels=1024, size=1024, depth=22, heads=16, head_size=64),
        hift=_HIFT,
    ),
    "cosyvoice3-tiny": Variant3(
        tiny=True,
        qwen=Qwen(
            hidden_size=16,
            intermediate_size=32,
            layers=2,
            attention_heads=4,
            key_value_heads=2,
            vocabulary=151936,
            first_special=151643,
        ),
        dit=Dit(lookahead_channels=32, size=32, depth=2, heads=2, head_size=16),
        hift=_TINY_HIFT,
    ),
}
