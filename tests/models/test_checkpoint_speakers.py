"""Preset voices in the layouts that are found under the name spk2info.pt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoint_writer import embedding, write_speakers
from torch_writer import Archive

from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.speakers import preset_voice, read_speakers

TOKENS = np.arange(30, dtype=np.int32)[np.newaxis]
MEL = np.linspace(-8, 2, 60 * 80, dtype=np.float32).reshape(1, 60, 80)
TEXT = np.array([[5, 6, 7]], np.int32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spk2info.pt"


def zero_shot(**changes: object) -> dict[str, object]:
    """As upstream's save_spkinfo writes a voice; a change of None leaves a field out."""
    fields = {
        "prompt_text": TEXT,
        "prompt_text_len": np.array([3], np.int32),
        "llm_prompt_speech_token": TOKENS,
        "llm_prompt_speech_token_len": np.array([30], np.int32),
        "flow_prompt_speech_token": TOKENS,
        "flow_prompt_speech_token_len": np.array([30], np.int32),
        "prompt_speech_feat": MEL,
        "prompt_speech_feat_len": np.array([60], np.int32),
        "llm_embedding": embedding(),
        "flow_embedding": embedding(),
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def async_layout(**changes: object) -> dict[str, object]:
    """As async_cosyvoice writes a voice."""
    fields = {
        "name": None,
        "spk_id": "narrator",
        "prompt_text": "こんにちは、東京。",
        "prompt_text_token": TEXT,
        "speech_feat": MEL,
        "speech_token": TOKENS,
        "embedding": embedding(),
    }
    return {**fields, **changes}


def test_the_sft_layout(path: Path) -> None:
    write_speakers(path, {"英文女": {"embedding": embedding()}})
    (features,) = read_speakers(path, "cosyvoice1").values()
    np.testing.assert_array_equal(features.embedding, embedding()[0])
    assert features.speech_tokens is features.mel is features.prompt_text is None
    assert (features.transcript, features.language) == ("", "en")


def test_older_sft_files_have_more_than_is_used(path: Path) -> None:
    fields = {"embedding": embedding(), "speech_token": TOKENS, "speech_feat": MEL}
    write_speakers(path, {"中文男": fields})
    assert read_speakers(path, "cosyvoice1")["中文男"].mel is None


@pytest.mark.parametrize("layout", [zero_shot, async_layout])
def test_layouts_with_a_recording(path: Path, layout: object) -> None:
    write_speakers(path, {"narrator": layout()})
    features = read_speakers(path, "cosyvoice2")["narrator"]
    np.testing.assert_array_equal(features.embedding, embedding()[0])
    np.testing.assert_array_equal(features.speech_tokens, TOKENS[0])
    np.testing.assert_array_equal(features.mel, MEL[0])
    np.testing.assert_array_equal(features.prompt_text, TEXT[0])


def test_the_language_is_told_by_the_transcript(path: Path) -> None:
    write_speakers(path, {"a": async_layout(), "b": zero_shot()})
    voices = read_speakers(path, "cosyvoice2", decode=lambda ids: "한국어" if len(ids) == 3 else "")
    assert voices["a"].transcript == "こんにちは、東京。"
    assert [preset_voice(*item).language for item in voices.items()] == ["ja", "ko"]


def test_a_voice_of_which_nothing_tells_the_language(path: Path) -> None:
    write_speakers(path, {"b": zero_shot()})
    ((name, features),) = read_speakers(path, "cosyvoice2").items()
    voice = preset_voice(name, features)
    assert (features.transcript, voice.language, voice.gender) == ("", "und", "neutral")


def test_lengths_that_are_shorter_than_the_tensors_count(path: Path) -> None:
    padded = zero_shot(
        prompt_text=np.array([[5, 6, 7, 0, 0]], np.int32), prompt_text_len=np.array([3], np.int32)
    )
    write_speakers(path, {"b": padded})
    assert read_speakers(path, "cosyvoice2")["b"].prompt_text.tolist() == [5, 6, 7]


def test_other_number_types_are_converted(path: Path) -> None:
    fields = zero_shot(
        prompt_text=TEXT.astype(np.int64),
        prompt_speech_feat=MEL.astype(np.float16),
        llm_embedding=embedding().astype(np.float64),
        flow_embedding=embedding().astype(np.float64),
    )
    write_speakers(path, {"b": fields})
    features = read_speakers(path, "cosyvoice2")["b"]
    assert features.prompt_text.dtype == np.int32
    assert features.mel.dtype == features.embedding.dtype == np.float32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vector": embedding()}, "a layout that is not known, with the fields ['vector']"),
        ({"embedding": "none"}, "lacks embedding"),
        ({"embedding": embedding()[0]}, "lacks embedding, or has it in another shape"),
        ({"embedding": embedding()[:, :100]}, "embedding is float32 of shape (100,)"),
        ({"embedding": np.zeros((1, 192), np.float32)}, "the embedding is all zero"),
        ({"embedding": np.full((1, 192), np.nan, np.float32)}, "values that are no numbers"),
        (zero_shot(prompt_text=None), "lacks prompt_text"),
        (zero_shot(flow_embedding=embedding(1)), "two embeddings that differ"),
        (zero_shot(flow_prompt_speech_token=TOKENS + 1), "two prompts of speech tokens"),
        (zero_shot(prompt_speech_feat=MEL[:, :40]), "40 mel frames do not go with 30"),
        (zero_shot(prompt_text=TEXT.astype(np.float32)), "its prompt_text has the type float32"),
        (zero_shot(prompt_text_len="3"), "its prompt_text_len is damaged"),
        (zero_shot(prompt_text_len=np.array([-3])), "prompt_text has 0 tokens"),
        (async_layout(speech_token=TOKENS + 6540), "ids beyond its vocabulary of 6561"),
        (async_layout(speech_token=TOKENS - 1), "ids beyond its vocabulary of 6561"),
        (async_layout(prompt_text=None), "its prompt_text is no text"),
    ],
)
def test_voices_that_are_refused(path: Path, fields: dict[str, object], message: str) -> None:
    write_speakers(path, {"someone": fields})
    with pytest.raises(CheckpointError) as caught:
        read_speakers(path, "cosyvoice2")
    assert f"{path}: voice 'someone': " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [[1], {"a": 1}, {1: {}}, {"": {}}, {"a\nb": {}}, {" a": {}}])
def test_files_that_are_no_voices(path: Path, content: object) -> None:
    Archive().write(path, content)
    with pytest.raises(CheckpointError, match=str(path)):
        read_speakers(path, "cosyvoice2")


def test_no_voices_at_all(path: Path) -> None:
    Archive().write(path, {})
    assert read_speakers(path, "cosyvoice3") == {}
