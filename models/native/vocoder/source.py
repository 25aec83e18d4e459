"""The source: a sine for each harmonic of F0, noise, and their sum as the network hears it.

Upstream computes the phase frame by frame and spreads it over a frame's samples: version 2 in
straight lines between the frames' centres, version 3 as steps.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.native.vocoder.spec import VocoderSpec


class HarmonicSource(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """Upstream's `SourceModuleHnNSF` with `SineGen2`, but for what nothing uses of it."""

    def __init__(self, spec: VocoderSpec) -> None:
        super().__init__()
        self._spec = spec
        self._frame = spec.frame_samples
        self.l_linear = nn.Linear(spec.harmonics, 1)

    def stepped(
        self, f0: torch.Tensor, turns: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Version 3's source, from any frame on.

        Args:
            f0: (rows, frames) float32, in Hz.
            turns: (rows, harmonics) float64, the sum of turns per sample, one of each frame, up to
                here. Double precision, because upstream's running sum is on the CPU, and because so
                it does not depend on where it was cut.
            noise: (rows, samples, harmonics) float32.

        Returns:
            The source, (rows, samples), and the sum up to its end.
        """
        rates = self._rates(f0).double()
        total = torch.cumsum(torch.cat((turns.unsqueeze(1), rates), dim=1), dim=1)
        phase = total[:, 1:].float() * 2 * math.pi * self._frame
        sines = self._spread(torch.sin(phase) * self._spec.sine_amplitude)
        return self._sum(sines, f0, noise), total[:, -1]

    def sloped(self, f0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Version 2's source of a window, whose phase begins at 0; shapes as of `stepped`."""
        phase = torch.cumsum(self._rates(f0), dim=1) * 2 * math.pi
        phase = F.interpolate(
            phase.transpose(1, 2) * self._frame, scale_factor=self._frame, mode="linear"
        )
        sines = torch.sin(phase.transpose(1, 2)) * self._spec.sine_amplitude
        return self._sum(sines, f0, noise)

    def sloped_on(
        self, f0: torch.Tensor, turns: torch.Tensor, noise: torch.Tensor, *, first: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Version 2's source as of the whole speech, from any frame on.

        Args:
            f0: (rows, frames), in Hz.
            turns: (rows, harmonics) float64, the phase at the centre of the frame before, in turns.
            noise: (rows, samples, harmonics) float32.
            first: there is no frame before.

        Returns:
            The source, (rows, samples), and the phase at each frame's centre, (rows, frames,
            harmonics).
        """
        ahead = self._rates(f0).double() * self._frame
        centres = (turns.unsqueeze(1) + torch.cumsum(ahead, dim=1)) % 1
        before = torch.cat((turns.unsqueeze(1), centres[:, :-1]), dim=1)
        steps = torch.arange(self._frame, device=f0.device, dtype=torch.float64)
        part = ((steps + 0.5) / self._frame).view(1, 1, -1, 1)
        # From centre to centre; halves of two neighbours make a frame.
        lines = before.unsqueeze(2) + part * ahead.unsqueeze(2)
        lines = lines.flatten(1, 2)
        half = self._frame // 2
        last = centres[:, -1:].expand(-1, half, -1)
        phase = torch.cat((lines[:, half:], last), dim=1)
        if first:
            # Upstream holds the first frame's phase up to its centre.
            phase = torch.cat((centres[:, :1].expand(-1, half, -1), phase[:, half:]), dim=1)
        sines = torch.sin((phase % 1 * 2 * math.pi).float()) * self._spec.sine_amplitude
        return self._sum(sines, f0, noise), centres

    def _rates(self, f0: torch.Tensor) -> torch.Tensor:
        """Turns per sample of each harmonic, (rows, frames, harmonics) float32."""
        numbers = torch.arange(1, self._spec.harmonics + 1, device=f0.device, dtype=f0.dtype)
        return (f0.unsqueeze(-1) * numbers / self._spec.sample_rate_hz) % 1

    def _spread(self, frames: torch.Tensor) -> torch.Tensor:
        """(rows, frames, n) to (rows, samples, n)."""
        rows, count, size = frames.shape
        return frames.unsqueeze(2).expand(rows, count, self._frame, size).flatten(1, 2)

    def _sum(self, sines: torch.Tensor, f0: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        spec = self._spec
        voiced = (f0 > spec.voiced_threshold_hz).float().unsqueeze(-1)
        loudness = voiced * spec.noise_deviation + (1 - voiced) * spec.sine_amplitude / 3
        waves = sines * self._spread(voiced) + self._spread(loudness) * noise
        # A convolution's rounding does not depend on how many rows and samples there are.
        weight, bias = self.l_linear.weight.unsqueeze(-1), self.l_linear.bias
        return torch.tanh(F.conv1d(waves.transpose(1, 2), weight, bias)).squeeze(1)
