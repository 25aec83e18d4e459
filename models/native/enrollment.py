"""A voice's features from a recording, without the official package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from models.base import Samples
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.features import Floats, TokenIds, VoiceFeatures
from models.cosyvoice.recordings import check_recording, features_of
from models.native import spectra
from models.native.configuration import read_configuration
from models.native.tokenizer import TextTokenizer

_ANALYSIS_RATE_HZ = 16_000


class VoiceAnalyser:
    """Finds out what a model has to know of a speaker.

    Args:
        checkpoint: of version 2 or 3.
        tokenizer: the checkpoint's.

    Raises:
        CheckpointError: its analysers cannot be opened.
    """

    def __init__(self, checkpoint: Checkpoint, tokenizer: TextTokenizer) -> None:
        self._checkpoint = checkpoint
        self._tokenizer = tokenizer
        extractor = read_configuration(checkpoint.yaml_path).section("feat_extractor")
        half_hz = checkpoint.sample_rate_hz / 2
        self._highest_hz = half_hz if extractor.is_null("fmax") else extractor.number("fmax")
        directory = checkpoint.directory
        self._speaker = _session(directory / "campplus.onnx")
        self._speech = _session(directory / f"speech_tokenizer_v{checkpoint.version}.onnx")

    def extract(self, samples: Samples, sample_rate_hz: int, transcript: str) -> VoiceFeatures:
        """Analyse a recording of one speaker, of shape (n_samples,).

        Raises:
            ModelError: `failed`, the recording is of no use; the message says why.
        """
        check_recording(samples, sample_rate_hz)
        recording = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
        with torch.inference_mode():
            speech = spectra.resample(recording, sample_rate_hz, _ANALYSIS_RATE_HZ)
            rate_hz = self._checkpoint.sample_rate_hz
            sound = spectra.resample(recording, sample_rate_hz, rate_hz)
            mel = spectra.flow_log_mel(sound, rate_hz, self._highest_hz)
            return features_of(
                self._checkpoint.version,
                embedding=self._embedding(speech),
                speech_tokens=self._speech_tokens(speech),
                mel=mel.numpy(),
                transcript=transcript,
                text_tokens=self._tokenizer.encode,
            )

    def _embedding(self, speech: torch.Tensor) -> Floats:
        bands = spectra.kaldi_log_mel(speech)
        bands = bands - bands.mean(dim=0, keepdim=True)
        name = self._speaker.get_inputs()[0].name
        found = self._speaker.run(None, {name: bands[None].numpy()})[0]
        return np.asarray(found).reshape(-1).astype(np.float32)

    def _speech_tokens(self, speech: torch.Tensor) -> TokenIds:
        content = spectra.whisper_log_mel(speech)[None].numpy()
        names = [entry.name for entry in self._speech.get_inputs()]
        length = np.array([content.shape[2]], np.int32)
        found = self._speech.run(None, dict(zip(names, (content, length), strict=True)))[0]
        return np.asarray(found).reshape(-1).astype(np.int32)


def _session(path: Path) -> Any:  # noqa: ANN401 - onnxruntime has no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the classes that it raises have no common base of their own
        raise CheckpointError(f"{path}: cannot be opened: {error}; fetch it again") from error
