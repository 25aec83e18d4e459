"""Features of a voice on their way to disk and back: whole, or refused."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from models.cosyvoice.features import FORMATS, FeaturesError, VoiceFeatures


def voice(**changes: object) -> VoiceFeatures:
    """A voice with a recording of two seconds."""
    random = np.random.default_rng(0)
    fields = {
        "embedding": random.standard_normal(192).astype(np.float32),
        "prompt_text": np.array([1, 2, 151646, 3], np.int32),
        "speech_tokens": random.integers(0, 6561, 50).astype(np.int32),
        "mel": random.standard_normal((100, 80)).astype(np.float32),
        "transcript": "希望你以后能够做的比我还好呦。",
        "language": "cmn",
    }
    return VoiceFeatures(**{**fields, **changes})


def same(one: VoiceFeatures, other: VoiceFeatures) -> bool:
    arrays = ("embedding", "prompt_text", "speech_tokens", "mel")
    return (one.transcript, one.language) == (other.transcript, other.language) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        if getattr(one, name) is not None
        else getattr(other, name) is None
        for name in arrays
    )


@pytest.mark.parametrize(
    "features",
    [
        voice(),
        voice(transcript="", language="", prompt_text=None),
        voice(speech_tokens=None, mel=None),
        voice(mel=np.asfortranarray(voice().mel)),
        voice(transcript='"\\\n😀'),
    ],
    ids=["whole", "without a transcript", "embedding only", "another order", "odd characters"],
)
def test_what_is_written_is_read_back(features: VoiceFeatures) -> None:
    data = features.to_bytes("cosyvoice2")
    assert same(VoiceFeatures.from_bytes(data, "cosyvoice2"), features)


def test_another_models_features_are_refused() -> None:
    data = voice().to_bytes("cosyvoice2")
    with pytest.raises(FeaturesError, match=r"'cosyvoice2'.*takes 'cosyvoice3'; enroll") as caught:
        VoiceFeatures.from_bytes(data, "cosyvoice3")
    assert caught.value.code == "failed"


def test_features_of_version_1_have_their_own_lengths() -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(0, 4096, 150).astype(np.int32)
    for frames in (258, 281):  # three seconds at 22.05 and at 24 kHz
        mel = random.standard_normal((frames, 80)).astype(np.float32)
        features = voice(speech_tokens=tokens, mel=mel, prompt_text=np.array([5], np.int32))
        data = features.to_bytes("cosyvoice1")
        assert same(VoiceFeatures.from_bytes(data, "cosyvoice1"), features)
    with pytest.raises(FeaturesError, match="300 mel frames do not go with 150 speech tokens"):
        replace(features, mel=np.zeros((300, 80), np.float32)).check("cosyvoice1")


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.flat[7] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": np.zeros(192, np.float32)}, "all zero"),
        ({"embedding": np.ones(191, np.float32)}, r"float32 of shape \(191,\)"),
        ({"embedding": np.ones((1, 192), np.float32)}, r"shape \(1, 192\)"),
        ({"embedding": np.ones(192)}, "float64"),
        ({"embedding": with_value(np.ones(192, np.float32), np.inf)}, "no numbers"),
        ({"mel": with_value(np.zeros((100, 80), np.float32), np.nan)}, "no numbers"),
        ({"mel": np.zeros((100, 79), np.float32)}, r"shape \(100, 79\)"),
        ({"mel": np.zeros((99, 80), np.float32)}, "99 mel frames do not go with 50"),
        ({"mel": None}, "come together"),
        ({"speech_tokens": None}, "come together"),
        ({"speech_tokens": np.full(50, 6561, np.int32)}, "vocabulary of 6561"),
        ({"speech_tokens": np.full(50, -1, np.int32)}, "vocabulary of 6561"),
        ({"speech_tokens": np.zeros(50, np.int64)}, "int64"),
        ({"speech_tokens": np.zeros(0, np.int32)}, "has 0 tokens"),
        (
            {"speech_tokens": np.zeros(800, np.int32), "mel": np.zeros((1600, 80), np.float32)},
            "800 tokens, and 1 to 775",
        ),
        ({"prompt_text": np.array([151936], np.int32)}, "vocabulary of 151936"),
        ({"prompt_text": np.zeros((1, 3), np.int32)}, r"shape \(1, 3\)"),
        ({"transcript": "a" * 4001}, "4001 characters"),
    ],
)
def test_features_that_would_harm_a_model_are_neither_written_nor_read(
    changes: dict[str, object], message: str
) -> None:
    features = voice(**changes)
    with pytest.raises(FeaturesError, match=message):
        features.to_bytes("cosyvoice2")
    # As somebody else might have written them, with a hash that is right:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VoiceFeatures, "check", lambda *_: None)
        data = features.to_bytes("cosyvoice2")
    with pytest.raises(FeaturesError, match=message):
        VoiceFeatures.from_bytes(data, "cosyvoice2")


@pytest.mark.parametrize("name", FORMATS)
def test_no_bytes_of_nothing(name: str) -> None:
    for data in (b"", b"\x00" * 8, b"\x02" + bytes(7) + b"{}", b"\xff" * 100, save({}), b"{}"):
        with pytest.raises(FeaturesError):
            VoiceFeatures.from_bytes(data, name)


def test_too_much_is_refused_unread() -> None:
    with pytest.raises(FeaturesError, match="more than"):
        VoiceFeatures.from_bytes(bytes(5 << 20), "cosyvoice2")


def changed_metadata(data: bytes, **facts: str) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"].update(facts)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def test_metadata_belongs_to_the_hash() -> None:
    data = voice().to_bytes("cosyvoice2")
    VoiceFeatures.from_bytes(changed_metadata(data, note="harmless"), "cosyvoice2")
    for facts in ({"transcript": "Something else."}, {"language": "en"}, {"sha256": "0" * 64}):
        with pytest.raises(FeaturesError, match="hash does not match"):
            VoiceFeatures.from_bytes(changed_metadata(data, **facts), "cosyvoice2")
    with pytest.raises(FeaturesError, match="'cosyvoice3'"):
        VoiceFeatures.from_bytes(changed_metadata(data, format="cosyvoice3"), "cosyvoice2")


def test_arrays_of_other_names_are_refused() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VoiceFeatures, "_arrays", lambda _: {"weights": np.zeros(3, np.float32)})
        data = voice().to_bytes("cosyvoice2")
    with pytest.raises(FeaturesError, match=r"has the arrays \['weights'\]|have the arrays"):
        VoiceFeatures.from_bytes(data, "cosyvoice2")


DATA = voice().to_bytes("cosyvoice2")


@pytest.mark.parametrize("bit", [1, 32, 128])
def test_any_changed_byte_is_noticed(bit: int) -> None:
    """Every byte of the header, and some of the arrays."""
    header_bytes = 8 + int.from_bytes(DATA[:8], "little")
    for position in [*range(header_bytes), *range(header_bytes, len(DATA), 499)]:
        changed = bytearray(DATA)
        changed[position] ^= bit
        try:
            found = VoiceFeatures.from_bytes(bytes(changed), "cosyvoice2")
        except FeaturesError:
            continue
        assert same(found, voice()), position


@pytest.mark.parametrize("size_bytes", [1, 8, 9, 100, 500, len(DATA) // 2, len(DATA) - 1])
def test_what_is_cut_short_is_refused(size_bytes: int) -> None:
    with pytest.raises(FeaturesError):
        VoiceFeatures.from_bytes(DATA[:size_bytes], "cosyvoice2")
