"""Tempo: faster or slower speech at the same pitch, by libavfilter's `atempo` (WSOLA)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log2

import av
import av.filter
import numpy as np

from models.base import Samples

_BLOCK_S = 0.02
"""The filter's output depends in its last bits on how its input is cut; so it is always cut here,
into blocks counted from the first sample."""
_BIAS = np.float32(0.004)
"""In digital silence every shift correlates equally badly and `atempo` takes the largest one: it
skips 20 ms of input before the next word, at half speed 40 ms of output. A constant under the
signal makes a shift of zero the best one; it is taken away again behind the filter."""
_STAGE_DELAY_S = 0.3
"""More than one stage holds back, in seconds of its input."""
_EMPTY = np.empty(0, np.float32)


def stages(factor: float) -> list[float]:
    """Split a tempo into equal factors between 0.5 and 2, where `atempo` loses no samples."""
    n_stages = max(1, ceil(abs(log2(factor)) - 1e-9))
    return [factor ** (1 / n_stages)] * n_stages


class Tempo:
    """Plays mono samples faster by `factor`, with exactly the duration that this gives.

    Where a sample is heard is right within about 20 ms of input (the filter's window is 43 to
    64 ms); the error does not add up. The output lags the input by 60 ms, more beyond a factor
    of 2 either way.

    Args:
        factor: 2.0 halves the duration.
        sample_rate_hz: of the samples.
    """

    def __init__(self, factor: float, sample_rate_hz: int) -> None:
        self._factor = factor
        self._rate_hz = sample_rate_hz
        self._time_base = Fraction(1, sample_rate_hz)
        self._block_samples = round(sample_rate_hz * _BLOCK_S)
        self._n_drain_blocks = ceil(
            max(1.0, factor) * len(stages(factor)) * _STAGE_DELAY_S / _BLOCK_S
        )
        self._waiting = _EMPTY
        self._n_taken = 0
        self._n_given = 0
        self._graph = av.filter.Graph()
        # Otherwise libavfilter starts a thread per core for every graph.
        self._graph.threads = 1
        self._source = self._graph.add_abuffer(
            sample_rate=sample_rate_hz, format="flt", layout="mono", time_base=self._time_base
        )
        filters = [self._graph.add("atempo", f"{stage:.12f}") for stage in stages(factor)]
        self._sink = self._graph.add("abuffersink")
        self._graph.link_nodes(self._source, *filters, self._sink)
        self._graph.configure()

    def process(self, samples: Samples) -> Samples:
        """Return what is ready, which may be nothing."""
        self._n_taken += len(samples)
        ready = self._filter(samples)
        self._n_given += len(ready)
        return ready

    def finish(self) -> Samples:
        """Return the rest, so that the total is the total of the input divided by the factor."""
        n_missing = max(0, round(self._n_taken / self._factor) - self._n_given)
        silence = np.zeros(self._block_samples, np.float32)
        rest = [_EMPTY]
        for _ in range(self._n_drain_blocks):
            if sum(map(len, rest)) >= n_missing:
                break
            rest.append(self._filter(silence))
        return np.concatenate(rest)[:n_missing]

    def _filter(self, samples: Samples) -> Samples:
        waiting = np.concatenate((self._waiting, samples + _BIAS))
        n_ready = len(waiting) - len(waiting) % self._block_samples
        pieces: list[Samples] = []
        for begin in range(0, n_ready, self._block_samples):
            self._push(waiting[begin : begin + self._block_samples])
            pieces.extend(self._pull())
        self._waiting = waiting[n_ready:]
        return np.concatenate(pieces) - _BIAS if pieces else _EMPTY

    def _push(self, block: Samples) -> None:
        frame = av.AudioFrame(format="flt", layout="mono", samples=len(block))
        frame.planes[0].update(block.tobytes())
        frame.sample_rate = self._rate_hz
        frame.time_base = self._time_base
        self._source.push(frame)

    def _pull(self) -> list[Samples]:
        pieces: list[Samples] = []
        while True:
            try:
                frame = self._sink.pull()
            except (BlockingIOError, EOFError):
                return pieces
            assert isinstance(frame, av.AudioFrame)  # noqa: S101 - an abuffersink gives no other
            pieces.append(frame.to_ndarray()[0])
