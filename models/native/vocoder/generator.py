"""The network: mel and source to samples."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.native.vocoder.layers import Block, Convolution, downsampling, upsampling
from models.native.vocoder.pitch import PitchPredictor
from models.native.vocoder.source import HarmonicSource
from models.native.vocoder.spec import VocoderSpec
from models.native.vocoder.spectrum import Spectrum

_KERNEL = 7
_LAST_SLOPE = 0.01
"""Upstream leaves it out before the last convolution, and so takes torch's own."""
_LOUDEST = 1e2


class Generator(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """Upstream's `HiFTGenerator` or `CausalHiFTGenerator`, for rows of equal length.

    Shapes alone decide what it does: no value is looked at, nothing waits for the device.
    """

    def __init__(self, spec: VocoderSpec) -> None:
        super().__init__()
        self._spec = spec
        causal, bins, size = spec.causal, 2 * spec.bins, spec.channels
        sizes = [size >> stage for stage in range(1, len(spec.upsample_rates) + 1)]
        self.f0_predictor = PitchPredictor(spec)
        self.m_source = HarmonicSource(spec)
        self.spectrum = Spectrum(spec.hop_samples)
        self.conv_pre = (
            nn.Conv1d(spec.mel_bands, size, spec.look_right_frames + 1)
            if causal
            else Convolution(spec.mel_bands, size, _KERNEL, causal=False)
        )
        self.ups = nn.ModuleList(
            upsampling(2 * size, kernel, rate, causal=causal)
            for size, kernel, rate in zip(
                sizes, spec.upsample_kernels, spec.upsample_rates, strict=True
            )
        )
        self.source_downs = nn.ModuleList(
            downsampling(bins, size, rate, causal=causal)
            for size, rate in zip(sizes, spec.down_rates, strict=True)
        )
        self.source_resblocks = nn.ModuleList(
            Block(size, kernel, dilations, causal=causal)
            for size, kernel, dilations in zip(
                sizes, spec.source_kernels, spec.source_dilations, strict=True
            )
        )
        self.resblocks = nn.ModuleList(
            Block(size, kernel, dilations, causal=causal)
            for size in sizes
            for kernel, dilations in zip(spec.block_kernels, spec.block_dilations, strict=True)
        )
        self.conv_post = Convolution(sizes[-1], bins, _KERNEL, causal=causal)

    def forward(self, mel: torch.Tensor, source: torch.Tensor, *, ended: bool) -> torch.Tensor:
        """Samples of all frames for which enough is there.

        Args:
            mel: (rows, bands, frames).
            source: (rows, samples), of as many frames; of the causal kind, if the speech has not
                ended, at least of one frame more than the first convolution leaves.
            ended: nothing follows, and zeros stand for it. The other kind's speech always has.

        Returns:
            (rows, samples); if the speech has not ended, without the last of the frames that the
            first convolution leaves.
        """
        x = self.conv_pre(F.pad(mel, (0, self._spec.look_right_frames)) if ended else mel)
        spectrum = self.spectrum.of(source)
        if not ended:
            spectrum = spectrum[:, :, : x.shape[2] * math.prod(self._spec.upsample_rates) + 1]
        x = self._stages(x, spectrum)
        x = self.conv_post(F.leaky_relu(x, _LAST_SLOPE))
        bins = self._spec.bins
        magnitude = torch.exp(x[:, :bins]).clamp(max=_LOUDEST)
        samples = self.spectrum.inverse(magnitude, torch.sin(x[:, bins:]))
        if not ended:
            samples = samples[:, : -self._spec.frame_samples]
        return samples.clamp(-self._spec.audio_limit, self._spec.audio_limit)

    def _stages(self, x: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        last, blocks = len(self.ups) - 1, len(self._spec.block_kernels)
        parts = zip(self.ups, self.source_downs, self.source_resblocks, strict=True)
        for stage, (up, down, source_block) in enumerate(parts):
            x = up(F.leaky_relu(x, self._spec.slope))
            if stage == last:
                # The spectrum has one step more than frames have; its first mirrors the second.
                x = torch.cat((x[:, :, 1:2], x), dim=2)
            x = x + source_block(down(spectrum))
            total = self.resblocks[stage * blocks](x)
            for block in self.resblocks[stage * blocks + 1 : (stage + 1) * blocks]:
                total += block(x)
            x = total / blocks
        return x
