"""The numbers of a checkpoint's vocoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.cosyvoice.errors import CheckpointError
from models.native.configuration import Section

_SOURCES = {"HiFTGenerator": False, "CausalHiFTGenerator": True}
_PREDICTORS = {False: "ConvRNNF0Predictor", True: "CausalConvRNNF0Predictor"}
_OTHER_SOURCE_HZ = 22050
"""At this rate, version 1's, upstream builds a harmonic source of another kind."""
PITCH_LAYERS = 5
"""Convolutions of upstream's F0 predictors."""
PITCH_KERNEL = 3
PITCH_RIGHT_FRAMES = 3
"""What the causal predictor's first convolution looks ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VocoderSpec:
    """A `HiFTGenerator` (version 2) or `CausalHiFTGenerator` (version 3).

    Raises:
        CheckpointError: the numbers do not fit each other.
    """

    causal: bool
    sample_rate_hz: int
    mel_bands: int
    channels: int
    """After the first convolution; each upsampling halves them."""
    harmonics: int
    """The fundamental included."""
    sine_amplitude: float
    noise_deviation: float
    """Of the noise beside a voiced source."""
    voiced_threshold_hz: float
    upsample_rates: tuple[int, ...]
    upsample_kernels: tuple[int, ...]
    n_fft: int
    hop_samples: int
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    source_kernels: tuple[int, ...]
    source_dilations: tuple[tuple[int, ...], ...]
    slope: float
    audio_limit: float
    look_right_frames: int
    """What the first convolution of the causal kind looks ahead; 0 for the other."""
    pitch_channels: int

    def __post_init__(self) -> None:
        """See that the numbers fit each other."""
        stages = len(self.upsample_rates)
        lists = (self.upsample_kernels, self.source_kernels, self.source_dilations)
        odd = (*self.block_kernels, *self.source_kernels)
        even = zip(self.upsample_kernels, self.upsample_rates, strict=False)
        for wrong, what in (
            (not stages or min(self.upsample_rates, default=0) < 1, "upsample_rates"),
            (any(len(numbers) != stages for numbers in lists), "lists of unequal lengths"),
            (len(self.block_kernels) != len(self.block_dilations), "resblock_dilation_sizes"),
            (not self.block_kernels or any(size % 2 == 0 for size in odd), "even kernels"),
            (any(kernel < rate or (kernel - rate) % 2 for kernel, rate in even), "kernels"),
            (self.channels % (1 << stages), "base_channels"),
            (self.hop_samples < 1 or self.n_fft != 4 * self.hop_samples, "istft_params"),
            (self.sample_rate_hz == _OTHER_SOURCE_HZ, "sampling_rate"),
            (self.frame_samples % 2, "a frame of an odd number of samples"),
            (self.harmonics < 1, "nb_harmonics"),
        ):
            if wrong:
                raise CheckpointError(f"the vocoder's numbers do not fit each other: {what}")

    @classmethod
    def read(cls, configuration: Section) -> VocoderSpec:
        """Take the numbers from a checkpoint's configuration.

        Raises:
            CheckpointError: it describes no vocoder of version 2 or 3.
        """
        hift = configuration.section("hift")
        if hift.class_name not in _SOURCES:
            raise CheckpointError(f"the vocoder {hift.class_name!r} is not known here")
        causal = _SOURCES[hift.class_name]
        predictor, transform = hift.section("f0_predictor"), hift.section("istft_params")
        if predictor.class_name != _PREDICTORS[causal]:
            raise CheckpointError(
                f"the vocoder {hift.class_name} with the F0 predictor {predictor.class_name!r}"
            )
        return cls(
            causal=causal,
            sample_rate_hz=hift.integer("sampling_rate"),
            mel_bands=hift.integer("in_channels"),
            channels=hift.integer("base_channels"),
            harmonics=hift.integer("nb_harmonics") + 1,
            sine_amplitude=hift.number("nsf_alpha"),
            noise_deviation=hift.number("nsf_sigma"),
            voiced_threshold_hz=hift.number("nsf_voiced_threshold"),
            upsample_rates=hift.integers("upsample_rates"),
            upsample_kernels=hift.integers("upsample_kernel_sizes"),
            n_fft=transform.integer("n_fft"),
            hop_samples=transform.integer("hop_len"),
            block_kernels=hift.integers("resblock_kernel_sizes"),
            block_dilations=hift.lists("resblock_dilation_sizes"),
            source_kernels=hift.integers("source_resblock_kernel_sizes"),
            source_dilations=hift.lists("source_resblock_dilation_sizes"),
            slope=hift.number("lrelu_slope"),
            audio_limit=hift.number("audio_limit"),
            look_right_frames=hift.integer("conv_pre_look_right", 4) if causal else 0,
            pitch_channels=predictor.integer("cond_channels"),
        )

    @property
    def frame_samples(self) -> int:
        """Samples of one mel frame."""
        return math.prod(self.upsample_rates) * self.hop_samples

    @property
    def bins(self) -> int:
        """Of the short-time spectrum."""
        return self.n_fft // 2 + 1

    @property
    def down_rates(self) -> tuple[int, ...]:
        """Steps of the short-time spectrum for one step of each stage."""
        rates = self.upsample_rates
        return tuple(math.prod(rates[stage + 1 :]) for stage in range(len(rates)))

    @property
    def held_frames(self) -> int:
        """Frames that upstream's causal vocoder holds back until more come."""
        return PITCH_RIGHT_FRAMES + self.look_right_frames + 1

    @property
    def pitch_left_frames(self) -> int:
        """Frames before one that the causal predictor of its pitch sees."""
        return (PITCH_LAYERS - 1) * (PITCH_KERNEL - 1)

    @property
    def left_frames(self) -> int:
        """Frames before one that the causal vocoder's samples of it depend on, source included.

        Followed from the frame's first sample backwards through the layers. 29 for the released
        numbers.
        """
        steps = math.prod(self.upsample_rates)
        origin = 1 << 20
        # The spectrum's step that ends in the frame, shifted by the step that upstream prepends.
        step = origin * steps - 1 - (_OUT_KERNEL - 1)
        first_step = step
        for stage in reversed(range(len(self.upsample_rates))):
            step -= max(map(_span, self.block_kernels, self.block_dilations))
            source = step - _span(self.source_kernels[stage], self.source_dilations[stage])
            down = self.down_rates[stage]
            first_step = min(first_step, source * down - (down - 1))
            if stage == len(self.upsample_rates) - 1:
                step -= 1
            step = (step - (self.upsample_kernels[stage] - 1)) // self.upsample_rates[stage]
        first_sample = first_step * self.hop_samples - self.n_fft // 2
        return origin - min(step, first_sample // self.frame_samples)


_OUT_KERNEL = 7
"""Of the last convolution, and of version 2's first."""


def _span(kernel: int, dilations: tuple[int, ...]) -> int:
    """How far back a causal residual block sees: one dilated and one plain layer each."""
    return sum((kernel - 1) * (dilation + 1) for dilation in dilations)
