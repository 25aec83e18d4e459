"""What a model has to know of a speaker, and its form on disk and between processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from models.base import ModelError

Floats: TypeAlias = npt.NDArray[np.float32]
TokenIds: TypeAlias = npt.NDArray[np.int32]

EMBEDDING_SIZE = 192
MEL_BANDS = 80
_MAX_PROMPT_S = 31.0
"""Upstream takes prompts of 30 seconds, and the last token may reach a little beyond."""
_MAX_TEXT_TOKENS = 4096
_MAX_BYTES = 4 << 20
_MAX_TRANSCRIPT_CHARACTERS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFormat:
    """What features of one model version look like."""

    name: str
    """Also `Capabilities.clone_format`."""
    speech_vocabulary: int
    text_vocabulary: int
    speech_tokens_per_s: int
    frames_per_token: tuple[float, float]
    """Least and most mel frames for one speech token. In versions 2 and 3 there are exactly two; in
    version 1 upstream once computed frames at 22.05 kHz and later at 24 kHz, with the same hop."""


FORMATS: Mapping[str, FeatureFormat] = {
    "cosyvoice1": FeatureFormat(
        name="cosyvoice1",
        speech_vocabulary=4096,
        text_vocabulary=51866,
        speech_tokens_per_s=50,
        frames_per_token=(22050 / 256 / 50, 24000 / 256 / 50),
    ),
    "cosyvoice2": FeatureFormat(
        name="cosyvoice2",
        speech_vocabulary=6561,
        text_vocabulary=151936,
        speech_tokens_per_s=25,
        frames_per_token=(2, 2),
    ),
    "cosyvoice3": FeatureFormat(
        name="cosyvoice3",
        speech_vocabulary=6561,
        text_vocabulary=151936,
        speech_tokens_per_s=25,
        frames_per_token=(2, 2),
    ),
}
_SLACK_FRAMES = 6
"""By which mel and tokens of version 1 may differ at the ends of a recording."""


class FeaturesError(ModelError):
    """Features are damaged, or another format's."""

    def __init__(self, message: str) -> None:
        super().__init__("failed", message)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VoiceFeatures:
    """A speaker, as the language model and the flow are told of it.

    A preset of the `sft` kind has the embedding alone. Speech tokens and mel come together, of the
    same recording.
    """

    embedding: Floats
    """(192,): the timbre."""
    prompt_text: TokenIds | None = None
    """(n,): ids of the transcript, with the version's own prefix, by the checkpoint's tokenizer."""
    speech_tokens: TokenIds | None = None
    """(n,): what was said in the recording, and how."""
    mel: Floats | None = None
    """(frames, 80): how the recording sounds."""
    transcript: str = ""
    language: str = ""
    """BCP 47, empty if unknown."""

    def check(self, format_name: str) -> None:
        """See that a model of this format can take these.

        Raises:
            FeaturesError: a shape, a type or a value is out of order.
            KeyError: there is no such format.
        """
        form = FORMATS[format_name]
        _check_floats("embedding", self.embedding, (EMBEDDING_SIZE,))
        if not np.any(self.embedding):
            raise FeaturesError("the embedding is all zero")
        if self.prompt_text is not None:
            _check_ids("prompt_text", self.prompt_text, form.text_vocabulary, _MAX_TEXT_TOKENS)
        if (self.speech_tokens is None) != (self.mel is None):
            raise FeaturesError("speech tokens and mel come together or not at all")
        if self.speech_tokens is not None and self.mel is not None:
            most = int(_MAX_PROMPT_S * form.speech_tokens_per_s)
            _check_ids("speech_tokens", self.speech_tokens, form.speech_vocabulary, most)
            _check_floats("mel", self.mel, (-1, MEL_BANDS))
            _check_lengths(len(self.speech_tokens), len(self.mel), form)
        if len(self.transcript) > _MAX_TRANSCRIPT_CHARACTERS:
            raise FeaturesError(f"the transcript has {len(self.transcript)} characters")

    def to_bytes(self, format_name: str) -> bytes:
        """In safetensors, with the format's name and a hash of the content.

        Raises:
            FeaturesError: these are no features of that format.
        """
        from safetensors.numpy import save  # noqa: PLC0415 - the front has no safetensors

        self.check(format_name)
        facts = {"transcript": self.transcript, "language": self.language}
        arrays = self._arrays()
        digest = _digest(format_name, facts, arrays)
        metadata = {"format": format_name, "sha256": digest, **facts}
        data: bytes = save(arrays, metadata=metadata)
        return data

    @classmethod
    def from_bytes(cls, data: bytes, expected_format: str) -> VoiceFeatures:
        """Read and check what `to_bytes` made.

        Raises:
            FeaturesError: it is damaged, or of another format.
        """
        from safetensors import SafetensorError  # noqa: PLC0415 - the front has no safetensors
        from safetensors.numpy import load  # noqa: PLC0415

        if len(data) > _MAX_BYTES:
            raise FeaturesError(f"voice features of {len(data)} bytes, more than {_MAX_BYTES}")
        try:
            arrays: dict[str, npt.NDArray[Any]] = load(data)
        except (SafetensorError, KeyError, ValueError) as error:
            raise FeaturesError(f"the voice features are damaged: {error}") from None
        metadata = _metadata(data)
        if metadata.get("format") != expected_format:
            raise FeaturesError(
                f"the voice features are of the format {metadata.get('format')!r}, "
                f"and this model takes {expected_format!r}; enroll the voice again"
            )
        facts = {key: metadata.get(key, "") for key in ("transcript", "language")}
        if metadata.get("sha256") != _digest(expected_format, facts, arrays):
            raise FeaturesError("the voice features are damaged: their hash does not match")
        if not {"embedding"} <= arrays.keys() <= set(_ARRAYS):
            raise FeaturesError(f"the voice features have the arrays {sorted(arrays)}")
        features = cls(
            embedding=arrays["embedding"],
            prompt_text=arrays.get("prompt_text"),
            speech_tokens=arrays.get("speech_tokens"),
            mel=arrays.get("mel"),
            transcript=facts["transcript"],
            language=facts["language"],
        )
        features.check(expected_format)
        return features

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {
            name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None
        }


_ARRAYS = ("embedding", "prompt_text", "speech_tokens", "mel")


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file that has been read without error."""
    header_bytes = int.from_bytes(data[:8], "little")
    metadata: dict[str, str] = json.loads(data[8 : 8 + header_bytes]).get("__metadata__", {})
    return metadata


def _digest(
    format_name: str, facts: Mapping[str, str], arrays: Mapping[str, npt.NDArray[Any]]
) -> str:
    """SHA-256 of everything that matters, in hex."""
    shapes = {name: [array.dtype.str, *array.shape] for name, array in arrays.items()}
    digest = hashlib.sha256(json.dumps([format_name, facts, shapes], sort_keys=True).encode())
    for _name, array in sorted(arrays.items()):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_floats(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    fits = array.ndim == len(shape) and all(
        wanted in (-1, n) for wanted, n in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype != np.float32:
        raise FeaturesError(f"{name} is {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise FeaturesError(f"{name} has values that are no numbers")


def _check_ids(name: str, array: TokenIds, vocabulary: int, most: int) -> None:
    if array.ndim != 1 or array.dtype != np.int32:
        raise FeaturesError(f"{name} is {array.dtype} of shape {array.shape}")
    if not 0 < len(array) <= most:
        raise FeaturesError(f"{name} has {len(array)} tokens, and 1 to {most} are allowed")
    if array.min() < 0 or array.max() >= vocabulary:
        raise FeaturesError(f"{name} has ids beyond its vocabulary of {vocabulary}")


def _check_lengths(tokens: int, frames: int, form: FeatureFormat) -> None:
    least, most = (tokens * ratio for ratio in form.frames_per_token)
    slack = 0 if form.frames_per_token[0] == form.frames_per_token[1] else _SLACK_FRAMES
    if not least - slack <= frames <= most + slack:
        raise FeaturesError(f"{frames} mel frames do not go with {tokens} speech tokens")
