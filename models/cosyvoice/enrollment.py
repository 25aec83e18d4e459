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

from models.base import Samples
from models.cosyvoice.features import Floats, TokenIds, VoiceFeatures
from models.cosyvoice.recordings import check_recording, features_of
from models.cosyvoice.runtime import Official

_ANALYSIS_RATE_HZ = 16_000
_TIMBRE_BANDS = 80
_CONTENT_BANDS = 128


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
    check_recording(samples, sample_rate_hz)
    recording = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)).unsqueeze(0)
    with torch.inference_mode():
        speech = _resampled(recording, sample_rate_hz, _ANALYSIS_RATE_HZ)
        return features_of(
            official.version,
            embedding=_embedding(official, speech),
            speech_tokens=_speech_tokens(official, speech),
            mel=_mel(official, recording, sample_rate_hz),
            transcript=transcript,
            text_tokens=official.text_tokens,
        )


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
