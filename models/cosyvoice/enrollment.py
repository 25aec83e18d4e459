"""A voice's features from a recording, by the recipe of upstream's `frontend_zero_shot`.

The official front end's own sessions and settings are used, on samples in memory: its methods take
a file's path in newer copies and samples of 16 kHz in older ones. Each feature is computed from the
recording at its own rate, resampled once and by torchaudio as upstream does, so that the result is
upstream's to the last bit.
"""

from __future__ import annotations

import importlib

import numpy as np
import torch

from models.base import ModelError, Samples
from models.cosyvoice.features import Floats, TokenIds, VoiceFeatures
from models.cosyvoice.prompts import transcript_prompt
from models.cosyvoice.runtime import Official
from models.cosyvoice.scripts_of_text import main_script

SHORTEST_S = 3.0
"""Less does not show how somebody speaks."""
LONGEST_S = 30.0
"""Upstream's speech tokenizers take no more."""
LOWEST_RATE_HZ = 16_000
"""Below, the recording lacks what the features are made of."""
_LOWEST_PEAK = 1e-3
"""-60 dBFS."""
_ANALYSIS_RATE_HZ = 16_000
_TIMBRE_BANDS = 80
_CONTENT_BANDS = 128
_FRAMES_PER_TOKEN = 2
_LANGUAGE_OF_SCRIPT = {"han": "cmn", "kana": "ja", "hangul": "ko", "latin": "en"}


def extract(
    official: Official, samples: Samples, sample_rate_hz: int, transcript: str
) -> VoiceFeatures:
    """Compute what a model has to know of a speaker.

    Args:
        official: the loaded model.
        samples: a recording of one speaker, shape (n_samples,).
        sample_rate_hz: of the recording.
        transcript: what is said in it; without it the voice speaks in cross-lingual mode only.

    Raises:
        ModelError: `failed`, the recording is of no use; the message says why.
    """
    _check(samples, sample_rate_hz)
    recording = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)).unsqueeze(0)
    with torch.inference_mode():
        speech = _resampled(recording, sample_rate_hz, _ANALYSIS_RATE_HZ)
        tokens = _speech_tokens(official, speech)
        embedding = _embedding(official, speech)
        mel = _mel(official, recording, sample_rate_hz)
    if official.version != 1:
        # Their flow lays exactly two frames on a token.
        n_tokens = min(len(mel) // _FRAMES_PER_TOKEN, len(tokens))
        tokens, mel = tokens[:n_tokens], mel[: n_tokens * _FRAMES_PER_TOKEN]
    spoken = transcript_prompt(official.version, transcript) if transcript.strip() else ""
    features = VoiceFeatures(
        embedding=embedding,
        prompt_text=np.array(official.text_tokens(spoken), np.int32) if spoken else None,
        speech_tokens=np.ascontiguousarray(tokens),
        mel=np.ascontiguousarray(mel),
        transcript=transcript.strip(),
        language=_LANGUAGE_OF_SCRIPT.get(main_script(transcript), ""),
    )
    features.check(f"cosyvoice{official.version}")
    return features


def _check(samples: Samples, sample_rate_hz: int) -> None:
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


def _resampled(recording: torch.Tensor, from_hz: int, to_hz: int) -> torch.Tensor:
    if from_hz == to_hz:
        return recording
    # Not before the runtime has repaired torchaudio; nor are the imports below.
    transforms = importlib.import_module("torchaudio.transforms")
    resampled: torch.Tensor = transforms.Resample(orig_freq=from_hz, new_freq=to_hz)(recording)
    return resampled


def _speech_tokens(official: Official, speech: torch.Tensor) -> TokenIds:
    """What is said: ids of the version's speech tokenizer, shape (n,)."""
    session = official.front_end.speech_tokenizer_session
    whisper = importlib.import_module("whisper")
    content = whisper.log_mel_spectrogram(speech, n_mels=_CONTENT_BANDS)
    names = [entry.name for entry in session.get_inputs()]
    length = np.array([content.shape[2]], np.int32)
    ids = session.run(None, dict(zip(names, (content.cpu().numpy(), length), strict=True)))[0]
    return np.asarray(ids).reshape(-1).astype(np.int32)


def _embedding(official: Official, speech: torch.Tensor) -> Floats:
    """The timbre: CAM++'s embedding, shape (192,)."""
    session = official.front_end.campplus_session
    kaldi = importlib.import_module("torchaudio.compliance.kaldi")
    bands = kaldi.fbank(
        speech, num_mel_bins=_TIMBRE_BANDS, dither=0, sample_frequency=_ANALYSIS_RATE_HZ
    )
    bands = bands - bands.mean(dim=0, keepdim=True)
    inputs = {session.get_inputs()[0].name: bands.unsqueeze(0).cpu().numpy()}
    return np.asarray(session.run(None, inputs)[0]).reshape(-1).astype(np.float32)


def _mel(official: Official, recording: torch.Tensor, sample_rate_hz: int) -> Floats:
    """How it sounds: log-mel spectrum of shape (frames, 80), by the checkpoint's own extractor."""
    # At the model's rate, for which the extractor's filters are made. Since late 2025 upstream
    # takes 24 kHz for all versions, which for version 1 shifts time and pitch by 24000/22050;
    # before, and in version 1's training, it was the model's.
    sound = _resampled(recording, sample_rate_hz, official.sample_rate_hz)
    mel = official.front_end.feat_extractor(sound).squeeze(0).transpose(0, 1)
    return np.asarray(mel.cpu().numpy(), dtype=np.float32)
