"""Loudness: a gain that moves without a click, and a peak limiter for what it lifts too high."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from models.base import Samples

CEILING = 32_767 / 32_768
"""Highest peak that leaves the limiter, as a part of full scale."""

_BLOCK_S = 0.005
"""Step of the limiter's gain curve; also its attack, and half of its greatest delay."""
_RELEASE_S = 0.08
"""Time constant with which the gain returns to 1."""
_RAMP_S = 0.01
"""Time in which a changed gain is reached."""
_NEARLY_ONE = 0.9999
"""From here the gain is 1 again, so that quiet speech passes unchanged once more."""
_EMPTY = np.empty(0, np.float32)


class Amplifier:
    """Multiplies by a gain; a new gain is reached on a straight line within 10 ms.

    Args:
        gain: factor on the amplitude.
        sample_rate_hz: of the samples.
    """

    def __init__(self, gain: float, sample_rate_hz: int) -> None:
        self._gain = np.float32(gain)
        self._ramp_samples = round(sample_rate_hz * _RAMP_S)
        self._ramp = _EMPTY

    def set_gain(self, gain: float) -> None:
        """Start the ramp from the present gain to `gain`."""
        present = self._ramp[0] if len(self._ramp) else self._gain
        self._gain = np.float32(gain)
        self._ramp = np.linspace(
            present, self._gain, self._ramp_samples, endpoint=False, dtype=np.float32
        )

    def process(self, samples: Samples) -> Samples:
        """Return the amplified samples; at gain 1 the same array."""
        if len(self._ramp):
            return self._process_ramp(samples)
        return samples if self._gain == 1.0 else samples * self._gain

    def _process_ramp(self, samples: Samples) -> Samples:
        amplified = samples * self._gain
        n_samples = min(len(samples), len(self._ramp))
        amplified[:n_samples] = samples[:n_samples] * self._ramp[:n_samples]
        self._ramp = self._ramp[n_samples:]
        return amplified


class Limiter:
    """Keeps peaks below `CEILING` by turning the gain down before they come.

    The gain is a line through one point every 5 ms. A point is no higher than what the blocks on
    both of its sides can bear, so no sample between two points can pass the ceiling; after a peak
    the points rise back to 1. Speech that stays below the ceiling passes unchanged, bit by bit.
    Blocks are counted from the first sample, so the result does not depend on how the samples
    were cut into chunks. The output lags the input by 5 to 10 ms until `finish`.

    Args:
        sample_rate_hz: of the samples.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._block_samples = max(1, round(sample_rate_hz * _BLOCK_S))
        self._release = 1.0 - float(np.exp(-_BLOCK_S / _RELEASE_S))
        self._slope: Samples = np.linspace(
            0.0, 1.0, self._block_samples, endpoint=False, dtype=np.float32
        )
        self._waiting = _EMPTY
        self._point: float | None = None

    def process(self, samples: Samples) -> Samples:
        """Return the samples whose following block is known."""
        waiting = np.concatenate((self._waiting, samples))
        n_blocks = len(waiting) // self._block_samples
        if n_blocks <= 1:
            self._waiting = waiting
            return _EMPTY
        known = waiting[: n_blocks * self._block_samples].reshape(n_blocks, -1)
        leaving = (n_blocks - 1) * self._block_samples
        self._waiting = waiting[leaving:]
        return self._limit(known, waiting[:leaving])

    def finish(self) -> Samples:
        """Return what is left."""
        waiting, self._waiting = self._waiting, _EMPTY
        n_blocks = -(-len(waiting) // self._block_samples)
        padded = np.zeros((n_blocks + 1) * self._block_samples, np.float32)
        padded[: len(waiting)] = waiting
        known = padded.reshape(n_blocks + 1, -1)
        return self._limit(known, padded[: n_blocks * self._block_samples])[: len(waiting)]

    def _limit(self, blocks: Samples, leaving: Samples) -> Samples:
        """Limit all `blocks` (shape (n, block)) but the last, which is only looked at."""
        peaks = np.maximum(blocks.max(axis=1), -blocks.min(axis=1))
        loudest = float(peaks.max())
        if loudest <= CEILING and self._point in {None, 1.0}:
            self._point = 1.0
            return leaving
        bearable = (CEILING / np.maximum(peaks, CEILING)).tolist()
        points = [bearable[0] if self._point is None else self._point]
        for before, after in pairwise(bearable):
            rising = points[-1] + (1.0 - points[-1]) * self._release
            points.append(min(before, after, 1.0 if rising > _NEARLY_ONE else rising))
        self._point = points[-1]
        curve: Samples = np.array(points, np.float32)[:, None]
        gains = curve[:-1] + (curve[1:] - curve[:-1]) * self._slope
        return (blocks[:-1] * gains).reshape(-1)
