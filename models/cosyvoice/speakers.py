"""spk2info.pt: the preset voices of a checkpoint.

Three layouts are found under this name, all a dictionary of dictionaries:

* `sft`, as CosyVoice-300M-SFT has it: `embedding`; older files also `speech_token`, `speech_feat`.
* `zero-shot`, as upstream's `save_spkinfo` writes it: the arguments of `model.tts` with their
  lengths (cosyvoice/cli/cosyvoice.py, `add_zero_shot_spk`).
* `async`, as the project async_cosyvoice writes it: `prompt_text` (a string), `prompt_text_token`,
  `speech_feat`, `speech_token`, `embedding`.

Tensors have a batch dimension of 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from models.base import Voice
from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.features import FeaturesError, VoiceFeatures
from models.cosyvoice.torch_file import read_torch_file

_MAX_BYTES = 256 << 20
_MAX_NAME_CHARACTERS = 200
_LANGUAGES = {
    "中文": "cmn", "普通话": "cmn", "粤语": "yue", "英文": "en", "英语": "en",
    "日语": "ja", "日文": "ja", "韩语": "ko", "韩文": "ko",
}  # fmt: skip


_SCRIPTS = {
    "ja": "[\u3040-\u30ff]",
    "ko": "[\uac00-\ud7af]",
    "cmn": "[\u4e00-\u9fff]",
    "en": "[A-Za-z]",
}
"""In this order: Japanese has Chinese characters as well."""

Decoder: TypeAlias = Callable[[Sequence[int]], str]


def read_speakers(
    path: Path, format_name: str, decode: Decoder | None = None
) -> dict[str, VoiceFeatures]:
    """The preset voices in a file, by name.

    Args:
        path: spk2info.pt.
        format_name: of the features, a key of `FORMATS`.
        decode: text of token ids, for the layout that keeps the transcript as tokens only. Without
            it the transcript of such a voice stays empty.

    Raises:
        CheckpointError: the file is damaged, of no known layout, or of another version.
        OSError: it cannot be read.
    """
    content = read_torch_file(path, max_bytes=_MAX_BYTES)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds no dictionary of voices")
    voices = {}
    for name, fields in content.items():
        if not _is_name(name):
            raise CheckpointError(f"{path}: {name!r} is no name for a voice")
        try:
            features = _features(name, fields, decode)
            features.check(format_name)
        except FeaturesError as error:
            raise CheckpointError(f"{path}: voice {name!r}: {error}") from None
        voices[name] = features
    return voices


def preset_voice(name: str, features: VoiceFeatures) -> Voice:
    """How a preset is listed. In official files the name tells the gender."""
    gender: Literal["female", "male", "neutral"]
    gender = "female" if name.endswith("女") else "male" if name.endswith("男") else "neutral"
    return Voice(name=name, language=features.language or "und", gender=gender)


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= _MAX_NAME_CHARACTERS
        and name.isprintable()
        and name == name.strip()
    )


def _features(name: str, fields: object, decode: Decoder | None) -> VoiceFeatures:
    if not isinstance(fields, dict):
        raise FeaturesError("is no dictionary")
    if "llm_embedding" in fields:
        return _zero_shot(name, fields, decode)
    if "prompt_text_token" in fields:
        return _async(name, fields)
    if "embedding" in fields:
        # Upstream's sft mode takes nothing else of such a voice.
        return VoiceFeatures(embedding=_vector(fields), language=_language(name, ""))
    raise FeaturesError(
        f"has a layout that is not known, with the fields {sorted(map(str, fields))}"
    )


def _zero_shot(name: str, fields: Mapping[str, Any], decode: Decoder | None) -> VoiceFeatures:
    """Upstream can tell language model and flow different things of a voice; here they are one."""
    embedding = _vector(fields, "llm_embedding")
    tokens = _row(fields, "llm_prompt_speech_token", np.int32)
    if not np.array_equal(embedding, _vector(fields, "flow_embedding")):
        raise FeaturesError("has two embeddings that differ")
    if not np.array_equal(tokens, _row(fields, "flow_prompt_speech_token", np.int32)):
        raise FeaturesError("has two prompts of speech tokens that differ")
    text = _row(fields, "prompt_text", np.int32)
    transcript = decode(text.tolist()) if decode else ""
    return VoiceFeatures(
        embedding=embedding,
        prompt_text=text,
        speech_tokens=tokens,
        mel=_row(fields, "prompt_speech_feat", np.float32),
        transcript=transcript,
        language=_language(name, transcript),
    )


def _async(name: str, fields: Mapping[str, Any]) -> VoiceFeatures:
    transcript = fields.get("prompt_text")
    if not isinstance(transcript, str):
        raise FeaturesError("its prompt_text is no text")
    return VoiceFeatures(
        embedding=_vector(fields),
        prompt_text=_row(fields, "prompt_text_token", np.int32),
        speech_tokens=_row(fields, "speech_token", np.int32),
        mel=_row(fields, "speech_feat", np.float32),
        transcript=transcript,
        language=_language(name, transcript),
    )


def _row(fields: Mapping[str, Any], key: str, kind: type[np.generic]) -> npt.NDArray[Any]:
    """The one row of a batch, as long as the field `KEY_len` says, if there is one."""
    array = fields.get(key)
    if not isinstance(array, np.ndarray) or array.ndim < 1 or array.shape[0] != 1:
        raise FeaturesError(f"lacks {key}, or has it in another shape")
    row: npt.NDArray[Any] = array[0]
    length = fields.get(f"{key}_len")
    if length is not None:
        if not isinstance(length, np.ndarray) or length.size != 1 or row.ndim < 1:
            raise FeaturesError(f"its {key}_len is damaged")
        row = row[: max(int(length.item()), 0)]
    if not np.can_cast(row.dtype, kind, "same_kind"):
        raise FeaturesError(f"its {key} has the type {row.dtype}")
    return np.ascontiguousarray(row, dtype=kind)


def _vector(fields: Mapping[str, Any], key: str = "embedding") -> npt.NDArray[np.float32]:
    return _row(fields, key, np.float32)


def _language(name: str, transcript: str) -> str:
    """BCP 47 tag by the name, else by the script of the transcript; empty if neither tells."""
    for word, tag in _LANGUAGES.items():
        if name.startswith(word):
            return tag
    for tag, characters in _SCRIPTS.items():
        if re.search(characters, transcript):
            return tag
    return ""
