"""Speaks a little of everything before the first request does, and sees that it is sound."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeAlias

import numpy as np

from models.base import Capabilities, ModelError, PcmChunk, SynthesisRequest
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.features import EMBEDDING_SIZE, MEL_BANDS, VoiceFeatures
from models.cosyvoice.stream import Report

Speak: TypeAlias = Callable[
    [SynthesisRequest, VoiceFeatures, str | Iterator[str], Report],
    Generator[PcmChunk, None, None],
]

REHEARSAL_LIMIT_S = 20.0
"""For each way of speaking, counted after each chunk."""
CROWD_LIMIT_S = 5.0
"""The same for many at once."""
_TEXT = "你好，这是第一句话。 This is the second one, and it is a little longer than the first."
"""Ten seconds, in which hops grow to their full length."""
_RECORDING_S = 3


def rehearse(
    checkpoint: Checkpoint,
    capabilities: Capabilities,
    speak: Speak,
    *,
    all_hops: bool,
    crowd: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Speak once with a voice without a recording, with one, and with streamed text.

    These have shapes and paths of their own, for which kernels are chosen and memory is taken when
    they are met first.

    Args:
        checkpoint: of the model.
        capabilities: of the model.
        speak: speaks a text with a voice; the last argument takes incidents.
        all_hops: speak on after the first chunk, up to the longest hop; of use on CUDA.
        crowd: speak so many at once in the end, for models that measure what that costs.
        clock: in seconds.

    Returns:
        What was rehearsed.

    Raises:
        ModelError: `failed`, the model's output is no numbers, as float16 engines may give.
    """
    timbre, recorded = _voices(checkpoint)
    ways: dict[str, tuple[VoiceFeatures, Callable[[], str | Iterator[str]]]] = {}
    if checkpoint.speakers or not checkpoint.clones:
        ways["timbre"] = timbre, lambda: _TEXT
    if checkpoint.clones:
        ways["recording"] = recorded, lambda: _TEXT
    if capabilities.text_stream:
        ways["streamed text"] = recorded, lambda: iter(_TEXT.split(" "))
    for features, text in ways.values():
        limit_s = REHEARSAL_LIMIT_S if all_hops else 0.0
        _speak_once(speak, features, text(), limit_s, clock)
    if crowd > 1:
        voice = recorded if checkpoint.clones else timbre
        with ThreadPoolExecutor(crowd) as executor:
            arguments = speak, voice, _TEXT, CROWD_LIMIT_S, clock
            for task in [executor.submit(_speak_once, *arguments) for _ in range(crowd)]:
                task.result()
    return [*ways, *(["crowd"] if crowd > 1 else [])]


def _speak_once(
    speak: Speak,
    features: VoiceFeatures,
    text: str | Iterator[str],
    limit_s: float,
    clock: Callable[[], float],
) -> None:
    incidents: list[str] = []
    end_s = clock() + limit_s
    request = SynthesisRequest(voice="", seed=0)
    try:
        with closing(speak(request, features, text, incidents.append)) as chunks:
            for _ in chunks:
                if clock() >= end_s:
                    return
    except ModelError as error:
        # The voice is made of noise, so babble is no news.
        if "nan" in incidents or not incidents:
            raise ModelError("failed", f"warm-up failed: {error.message}") from error


def _voices(checkpoint: Checkpoint) -> tuple[VoiceFeatures, VoiceFeatures]:
    random = np.random.default_rng(0)
    embedding = random.normal(size=EMBEDDING_SIZE).astype(np.float32)
    n_tokens = _RECORDING_S * checkpoint.token_rate_hz
    mel_hop_samples = 256 if checkpoint.version == 1 else 480
    n_frames = _RECORDING_S * checkpoint.sample_rate_hz // mel_hop_samples
    recorded = VoiceFeatures(
        embedding=embedding,
        speech_tokens=random.integers(0, 4096, n_tokens).astype(np.int32),
        mel=random.normal(size=(n_frames, MEL_BANDS)).astype(np.float32),
        transcript="你好。 Hello.",
    )
    return VoiceFeatures(embedding=embedding), recorded
