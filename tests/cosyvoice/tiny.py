"""What is known of models on tiny checkpoints: how long they speak, and in what chunks.

They end when there are RATES speech tokens per text token, prompts included.
"""

from __future__ import annotations

import numpy as np

from models.cosyvoice.features import VoiceFeatures

RATES = {1: 10.0, 2: 4.0, 3: 3.2}
"""Above 3, so that streamed text, 15 speech tokens for 5 of text, is used up before speech ends."""
TEXT = "你好。"
"""Spoken in one chunk, or two."""
LONG_TEXTS = {1: "你好，世界。" * 5, 2: "你好。" * 4, 3: "你好。" * 4}
"""Spoken in three chunks, or four."""
END_OF_PROMPT_ID = 151646
LOOKAHEAD = 3
_SAMPLES_PER_TOKEN = 960
_OVERLAP_TOKENS = 20
_WINDOW_HOP_TOKENS = 100


class TinyVoices:
    """Voices for tiny models of a version.

    Args:
        version: 1, 2 or 3.
    """

    transcript = "希望你好。"

    def __init__(self, version: int) -> None:
        self._version = version

    def clones(self) -> dict[str, VoiceFeatures]:
        """`clone`, with a transcript, and `silent`, without; `long` lasts longer."""
        return {
            "clone": self.recorded(self.transcript),
            "silent": self.recorded(""),
            "long": self.recorded("", 101),
        }

    def recorded(self, transcript: str, n_tokens: int = 60) -> VoiceFeatures:
        """A voice with a recording of so many speech tokens."""
        random = np.random.default_rng(7)
        n_frames = int(n_tokens / 50 * 22050 / 256) if self._version == 1 else 2 * n_tokens
        return VoiceFeatures(
            embedding=random.normal(size=192).astype(np.float32),
            speech_tokens=random.integers(100, 4000, n_tokens).astype(np.int32),
            mel=random.normal(size=(n_frames, 80)).astype(np.float32),
            transcript=transcript,
            language="cmn",
        )


def n_samples(version: int, n_tokens: int) -> int:
    """How many samples so many speech tokens make, in however many chunks."""
    if version != 1:
        return n_tokens * _SAMPLES_PER_TOKEN
    frames = 0
    while n_tokens >= _WINDOW_HOP_TOKENS + _OVERLAP_TOKENS:
        # Each window's end is heard from the next one.
        frames += _frames(_WINDOW_HOP_TOKENS + _OVERLAP_TOKENS) - _frames(_OVERLAP_TOKENS)
        n_tokens -= _WINDOW_HOP_TOKENS
    return 256 * (frames + _frames(n_tokens))


def _frames(n_tokens: int) -> int:
    return int(n_tokens / 50 * 22050 / 256)
