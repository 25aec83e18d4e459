"""The predictor of F0, the fundamental frequency, frame by frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from models.native.vocoder.layers import Convolution
from models.native.vocoder.spec import (
    PITCH_KERNEL,
    PITCH_LAYERS,
    PITCH_RIGHT_FRAMES,
    VocoderSpec,
)


class PitchPredictor(nn.Module):  # type: ignore[misc]  # torch has no types in the front
    """Upstream's `ConvRNNF0Predictor` and, causal but for a first look ahead, its causal kin."""

    def __init__(self, spec: VocoderSpec) -> None:
        super().__init__()
        self._right = PITCH_RIGHT_FRAMES if spec.causal else 0
        size, causal = spec.pitch_channels, spec.causal
        first = (
            nn.Conv1d(spec.mel_bands, size, PITCH_RIGHT_FRAMES + 1)
            if causal
            else Convolution(spec.mel_bands, size, PITCH_KERNEL, causal=False)
        )
        layers = [first, nn.ELU()]
        for _ in range(PITCH_LAYERS - 1):
            layers += [Convolution(size, size, PITCH_KERNEL, causal=causal), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(size, 1)

    def forward(self, mel: torch.Tensor, *, ended: bool) -> torch.Tensor:
        """F0 in the module's precision.

        Args:
            mel: (rows, bands, frames) float32; of the causal kind three frames more than wanted,
                if the speech has not ended.
            ended: nothing follows the last frame.

        Returns:
            (rows, frames), in Hz.
        """
        mel = mel.to(self.classifier.weight.dtype)
        if ended:
            mel = F.pad(mel, (0, self._right))
        return self.classifier(self.condnet(mel).transpose(1, 2)).squeeze(-1).abs()
