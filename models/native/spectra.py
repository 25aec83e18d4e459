"""Spectra of recordings, as CosyVoice's analysers of voices were trained on them.

Own code for what upstream takes from whisper, torchaudio and Matcha-TTS, by the same formulas, so
that a voice is the same whichever engine took it up.
"""

from __future__ import annotations

import functools
import math

import torch

_SLANEY_BREAK_HZ = 1000.0
_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_LOG_STEP = math.log(6.4) / 27.0
_SINC_ZEROS = 6
_SINC_ROLLOFF = 0.99


def resample(sound: torch.Tensor, from_hz: int, to_hz: int) -> torch.Tensor:
    """Another sample rate, by a sinc kernel under a Hann window (torchaudio's default).

    Args:
        sound: float32, shape (n_samples,).
        from_hz: its rate.
        to_hz: the wanted rate.

    Returns:
        Shape (ceil(n_samples * to_hz / from_hz),).
    """
    if from_hz == to_hz:
        return sound
    divisor = math.gcd(from_hz, to_hz)
    old, new = from_hz // divisor, to_hz // divisor
    cut_off = min(old, new) * _SINC_ROLLOFF
    width = math.ceil(_SINC_ZEROS * old / cut_off)
    times = torch.arange(-width, width + old, dtype=torch.float64)[None, :] / old
    times = torch.arange(0, -new, -1, dtype=torch.float64)[:, None] / new + times
    times = (times * cut_off).clamp(-_SINC_ZEROS, _SINC_ZEROS)
    window = torch.cos(times * math.pi / _SINC_ZEROS / 2) ** 2
    kernel = (torch.sinc(times) * window * (cut_off / old)).float()
    padded = torch.nn.functional.pad(sound[None, None], (width, width + old))
    phases = torch.nn.functional.conv1d(padded, kernel[:, None], stride=old)
    n_samples = math.ceil(new * len(sound) / old)
    return phases.transpose(1, 2).reshape(-1)[:n_samples]


def whisper_log_mel(speech: torch.Tensor) -> torch.Tensor:
    """Whisper's log-mel spectrum: what the speech tokenizers read.

    Args:
        speech: 16 kHz, shape (n_samples,).

    Returns:
        Shape (128, n_samples // 160).
    """
    window = torch.hann_window(400)
    spectrum = torch.stft(speech, 400, 160, window=window, return_complex=True)
    power = spectrum[..., :-1].abs() ** 2
    log = (_slaney_filters(16_000, 400, 128, 0.0, 8_000.0) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0


def kaldi_log_mel(speech: torch.Tensor) -> torch.Tensor:
    """Kaldi's filter bank energies, without dither: what CAM++ reads.

    Args:
        speech: 16 kHz, at least 400 samples, shape (n_samples,).

    Returns:
        Shape (1 + (n_samples - 400) // 160, 80).
    """
    frames = speech.unfold(0, 400, 160)
    frames = frames - frames.mean(dim=1, keepdim=True)
    before = torch.nn.functional.pad(frames[:, None], (1, 0), mode="replicate")[:, 0, :-1]
    frames = (frames - 0.97 * before) * torch.hann_window(400, periodic=False) ** 0.85
    power = torch.fft.rfft(torch.nn.functional.pad(frames, (0, 112))).abs() ** 2
    energies = power @ _kaldi_filters(16_000, 512, 80, 20.0, 8_000.0).T
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()


def flow_log_mel(sound: torch.Tensor, sample_rate_hz: int, highest_hz: float) -> torch.Tensor:
    """The spectrum that flow and vocoder work with: 1920 points each 480 samples.

    Args:
        sound: shape (n_samples,).
        sample_rate_hz: 24000.
        highest_hz: 8000 in version 2, 12000 in version 3.

    Returns:
        Shape (n_samples // 480, 80).
    """
    padded = torch.nn.functional.pad(sound[None, None], (720, 720), mode="reflect")[0, 0]
    window = torch.hann_window(1920)
    spectrum = torch.stft(padded, 1920, 480, window=window, center=False, return_complex=True)
    magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()
    filters = _slaney_filters(sample_rate_hz, 1920, 80, 0.0, highest_hz)
    return (filters @ magnitude).clamp(min=1e-5).log().T


@functools.cache
def _slaney_filters(
    sample_rate_hz: int, n_fft: int, n_bands: int, lowest_hz: float, highest_hz: float
) -> torch.Tensor:
    """Triangles of equal area on Slaney's scale, linear below 1 kHz: (n_bands, n_fft // 2 + 1)."""
    mels = torch.linspace(
        _slaney_mel(lowest_hz), _slaney_mel(highest_hz), n_bands + 2, dtype=torch.float64
    )
    linear = _SLANEY_HZ_PER_MEL * mels
    break_mel = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
    steep = _SLANEY_BREAK_HZ * torch.exp(_SLANEY_LOG_STEP * (mels - break_mel))
    edges_hz = torch.where(mels < break_mel, linear, steep)
    bins_hz = torch.linspace(0.0, sample_rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)
    triangles = _triangles(edges_hz, bins_hz)
    return (triangles * (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]).float()


@functools.cache
def _kaldi_filters(
    sample_rate_hz: int, n_fft: int, n_bands: int, lowest_hz: float, highest_hz: float
) -> torch.Tensor:
    """Triangles of height 1 on the mel scale, without the bin at half the sample rate."""
    edges = torch.linspace(_htk_mel(lowest_hz), _htk_mel(highest_hz), n_bands + 2)
    bins_hz = torch.arange(n_fft // 2) * (sample_rate_hz / n_fft)
    triangles = _triangles(edges, 1127.0 * torch.log1p(bins_hz / 700.0))
    return torch.nn.functional.pad(triangles, (0, 1))


def _triangles(edges: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Band i rises from edge i to edge i + 1 and falls to edge i + 2; shape (bands, points)."""
    rise = (points[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - points[None]) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0.0)


def _slaney_mel(frequency_hz: float) -> float:
    if frequency_hz < _SLANEY_BREAK_HZ:
        return frequency_hz / _SLANEY_HZ_PER_MEL
    steps = math.log(frequency_hz / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    return _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL + steps


def _htk_mel(frequency_hz: float) -> float:
    return 1127.0 * math.log1p(frequency_hz / 700.0)
