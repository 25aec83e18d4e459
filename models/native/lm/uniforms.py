"""Random numbers that depend on a session's seed and a position, and on nothing else.

A counter in place of a state: whoever shares a batch, and in whichever order batches come, the same
session gets the same numbers, on every device. The mixing is SplitMix64's (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", 2014), in int64 arithmetic that wraps.
"""

from __future__ import annotations

import torch

_BITS = 64
_GOLDEN = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)
_SEED_SALT = 0x5851F42D4C957F2D
"""Keeps seeds that differ by the counter's step from being one sequence, shifted."""
_UNIFORM_BITS = 32
"""Few enough that a sum of probabilities times the largest number stays below the sum."""


def signed(value: int) -> int:
    """The 64 lowest bits of a number, as int64 holds them."""
    value &= (1 << _BITS) - 1
    return value - (1 << _BITS) if value >> (_BITS - 1) else value


def uniforms(seeds: torch.Tensor, positions: torch.Tensor, n_draws: int) -> torch.Tensor:
    """Numbers from 0 to below 1.

    Args:
        seeds: (B,) int64, any.
        positions: (B,) int64, of the draw in its session.
        n_draws: numbers for each position.

    Returns:
        (B, n_draws) float64.
    """
    draws = torch.arange(1, n_draws + 1, device=seeds.device)
    counters = positions.unsqueeze(1) * n_draws + draws
    keys = _mix(seeds ^ signed(_SEED_SALT)).unsqueeze(1)
    bits = _shifted(_mix(keys + counters * signed(_GOLDEN)), _BITS - _UNIFORM_BITS)
    return bits.double() * 2.0**-_UNIFORM_BITS


def _mix(values: torch.Tensor) -> torch.Tensor:
    for shift, factor in zip(_SHIFTS, _FACTORS, strict=False):
        values = (values ^ _shifted(values, shift)) * signed(factor)
    return values ^ _shifted(values, _SHIFTS[-1])


def _shifted(values: torch.Tensor, n_bits: int) -> torch.Tensor:
    """To the right, with zeros from the left, which int64 does not do by itself."""
    return (values >> n_bits) & ((1 << (_BITS - n_bits)) - 1)
