"""What is the same for every way to compute a voice's features: limits, and how they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from models.base import ModelError, Samples
from models.cosyvoice.features import Floats, TokenIds, VoiceFeatures
from models.cosyvoice.prompts import transcript_prompt
from models.cosyvoice.scripts_of_text import main_script

SHORTEST_S = 3.0
"""Less does not show how somebody speaks."""
LONGEST_S = 30.0
"""Upstream's speech tokenizers take no more."""
LOWEST_RATE_HZ = 16_000
"""Below, the recording lacks what the features are made of."""
_LOWEST_PEAK = 1e-3
"""-60 dBFS."""
_FRAMES_PER_TOKEN = 2
_LANGUAGE_OF_SCRIPT = {"han": "cmn", "kana": "ja", "hangul": "ko", "latin": "en"}


def check_recording(samples: Samples, sample_rate_hz: int) -> None:
    """See that a recording of shape (n_samples,) can be used.

    Raises:
        ModelError: `failed`, it is of no use; the message says why.
    """
    seconds = len(samples) / sample_rate_hz
    reason = ""
    if sample_rate_hz < LOWEST_RATE_HZ:
        reason = f"is sampled at {sample_rate_hz} Hz, and {LOWEST_RATE_HZ} Hz are the least"
    elif not SHORTEST_S <= seconds <= LONGEST_S:
        reason = f"lasts {seconds:.1f} s, and {SHORTEST_S:.0f} to {LONGEST_S:.0f} s are needed"
    elif not np.isfinite(samples).all():
        reason = "has samples that are no numbers"
    elif np.abs(samples).max() < _LOWEST_PEAK:
        reason = "is silent"
    if reason:
        raise ModelError("failed", f"the recording {reason}")


def features_of(
    version: int,
    *,
    embedding: Floats,
    speech_tokens: TokenIds,
    mel: Floats,
    transcript: str,
    text_tokens: Callable[[str], Sequence[int]],
) -> VoiceFeatures:
    """Put together what was found in a recording.

    Args:
        version: 1, 2 or 3.
        embedding: the timbre, shape (192,).
        speech_tokens: what is said, shape (n,).
        mel: how it sounds, shape (frames, 80).
        transcript: what is said in it; without it the voice speaks in cross-lingual mode only.
        text_tokens: the version's tokenizer.
    """
    if version != 1:
        # Their flow lays exactly two frames on a token.
        n_tokens = min(len(mel) // _FRAMES_PER_TOKEN, len(speech_tokens))
        speech_tokens, mel = speech_tokens[:n_tokens], mel[: n_tokens * _FRAMES_PER_TOKEN]
    spoken = transcript_prompt(version, transcript) if transcript.strip() else ""
    features = VoiceFeatures(
        embedding=embedding,
        prompt_text=np.array(text_tokens(spoken), np.int32) if spoken else None,
        speech_tokens=np.ascontiguousarray(speech_tokens),
        mel=np.ascontiguousarray(mel),
        transcript=transcript.strip(),
        language=_LANGUAGE_OF_SCRIPT.get(main_script(transcript), ""),
    )
    features.check(f"cosyvoice{version}")
    return features
