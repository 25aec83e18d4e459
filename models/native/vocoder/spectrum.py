"""The short-time Fourier transform, and its inverse by overlapping.

`torch.istft` asks the device whether its window overlaps enough, which waits for the device and
forbids a CUDA graph; this inverse computes the same without.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

_OVERLAPS = 4
"""A window is so many hops long."""


class Spectrum(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """Transforms with a periodic Hann window of 4 hops, centred on multiples of a hop.

    Args:
        hop_samples: between two steps.
    """

    def __init__(self, hop_samples: int) -> None:
        super().__init__()
        self._hop = hop_samples
        self._size = _OVERLAPS * hop_samples
        # In double precision and then rounded, as SciPy's, which upstream takes.
        window = torch.hann_window(self._size, dtype=torch.float64, device="cpu").float()
        self.register_buffer("window", window, persistent=False)

    def of(self, samples: torch.Tensor) -> torch.Tensor:
        """Real above imaginary parts.

        Args:
            samples: (rows, n), n a multiple of the hop; mirrored beyond its ends.

        Returns:
            (rows, size + 2, n / hop + 1).
        """
        found = torch.stft(
            samples, self._size, self._hop, self._size, window=self.window, return_complex=True
        )
        return torch.cat((found.real, found.imag), dim=1)

    def inverse(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        """Samples between the first and the last step.

        Args:
            magnitude: (rows, size / 2 + 1, steps).
            phase: the same shape, in radians.

        Returns:
            (rows, (steps - 1) * hop).
        """
        found = torch.complex(magnitude * torch.cos(phase), magnitude * torch.sin(phase))
        pieces = torch.fft.irfft(found, n=self._size, dim=1) * self.window[:, None]
        weights = self.window.square()[None, :, None].expand(1, -1, pieces.shape[2])
        return self._overlapped(pieces) / self._overlapped(weights)

    def _overlapped(self, pieces: torch.Tensor) -> torch.Tensor:
        """(rows, size, steps) to (rows, (steps - 1) * hop): sums where pieces overlap."""
        rows, _, steps = pieces.shape
        hops = pieces.unflatten(1, (_OVERLAPS, self._hop)).permute(1, 0, 3, 2)
        # From the earliest piece to the latest, so that rounding is that of torch's own.
        parts = [
            F.pad(hops[shift], (0, 0, shift, _OVERLAPS - 1 - shift))
            for shift in reversed(range(_OVERLAPS))
        ]
        total = parts[0] + parts[1] + parts[2] + parts[3]
        inside = total[:, _OVERLAPS // 2 : _OVERLAPS // 2 + steps - 1]
        return inside.reshape(rows, (steps - 1) * self._hop)
