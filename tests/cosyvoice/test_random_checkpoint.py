"""Checkpoints with random weights are what the official code loads, and speak as long as asked."""

from __future__ import annotations

import base64
import filecmp
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import tiktoken
import torch
from transformers import AutoTokenizer

from models.cosyvoice.byte_pieces import byte_characters
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.features import VoiceFeatures
from models.cosyvoice.model import CosyVoiceModel
from models.random_checkpoint import presets
from models.random_checkpoint.maker import make
from models.random_checkpoint.manifest import read_manifest
from models.random_checkpoint.variants import VARIANTS

TINY = [name for name, variant in VARIANTS.items() if variant.tiny]
LONG_TEXT = (
    "A text of several clauses, so that an error that grows with the length is seen; 这里也有。"
)


@pytest.mark.parametrize("variant", TINY)
def test_names_and_shapes_are_those_of_the_manifest(tmp_path: Path, variant: str) -> None:
    make(variant, tmp_path)
    for file, expected in read_manifest(variant).items():
        tensors = torch.load(tmp_path / f"{file}.pt", weights_only=True)
        assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    size_bytes = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert size_bytes < 8e6


def test_a_seed_makes_the_same_again(tmp_path: Path) -> None:
    one, same, other = (
        make("cosyvoice2-tiny", tmp_path / name, seed=seed)
        for name, seed in (("one", 3), ("same", 3), ("other", 4))
    )
    for file in ("llm.pt", "flow.pt", "hift.pt", "spk2info.pt", "campplus.onnx"):
        assert filecmp.cmp(one / file, same / file, shallow=False), file
        assert not filecmp.cmp(one / file, other / file, shallow=False), file


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        ("cosyvoice4", {}, "unknown variant"),
        ("cosyvoice1-tiny", {"tiktoken": "qwen.tiktoken"}, "of versions 2 and 3"),
        ("cosyvoice1-tiny", {"full_blank_weights": True}, "of versions 2 and 3"),
        ("cosyvoice2-tiny", {"rate": 0}, "rate 0: more than 0"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    tmp_path: Path, variant: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(variant, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def speech_tokens(model: CosyVoiceModel, text: str, features: VoiceFeatures) -> list[int]:
    """What the official language model itself says, by its own sampling."""
    official = model._official
    ids = official.text_tokens(text)
    none = np.zeros(0, np.int32)
    prompt_text = none if features.prompt_text is None else features.prompt_text
    if official.version == 3 and features.prompt_text is None:
        prompt_text = np.array([presets._END_OF_PROMPT_ID], np.int32)
    prompt_speech = none if features.speech_tokens is None else features.speech_tokens
    arrays = {
        "text": np.array(ids, np.int32),
        "prompt_text": prompt_text,
        "prompt_speech_token": prompt_speech,
    }
    arguments: dict[str, Any] = {}
    for name, array in arrays.items():
        arguments[name] = torch.from_numpy(array.astype(np.int32))[None]
        arguments[f"{name}_len"] = torch.tensor([len(array)], dtype=torch.int32)
    embedding = torch.from_numpy(features.embedding)[None]
    torch.manual_seed(0)
    llm = official.model.llm
    return [int(token) for token in llm.inference(**arguments, embedding=embedding, uuid="test")]


@pytest.mark.parametrize(
    ("layout", "rate", "text"),
    [("sft", 4.0, "Hello."), ("zero-shot", 6.0, LONG_TEXT), ("async", 5.0, "Hello.")],
)
def test_the_language_model_ends_where_it_should(
    version: int, layout: str, rate: float, text: str, load_model: Callable[..., CosyVoiceModel]
) -> None:
    model = load_model(version, rate, f"{layout}-{version}", spk2info=layout)
    (features, *_) = model._checkpoint.speakers.values()
    n_text = len(model._official.text_tokens(text))
    if version == 3 and layout == "sft":
        n_text += 1  # <|endofprompt|>, on which upstream insists
    assert len(speech_tokens(model, text, features)) == rate * n_text


def test_version_1_by_default_never_ends_by_itself(tmp_path: Path) -> None:
    """Upstream ends it, after 20 speech tokens for each of text."""
    tensors = torch.load(make("cosyvoice1-tiny", tmp_path) / "llm.pt", weights_only=True)
    assert tensors["llm_decoder.bias"][4096] < -1000


def test_older_names_and_the_keys_of_training_load_as_well(
    version: int, load_model: Callable[..., CosyVoiceModel]
) -> None:
    model = load_model(
        version, None, f"older{version}", legacy_hift=True, training_keys=True, spk2info="none"
    )
    assert all(voice.kind == "clone" for voice in model.voices())


@pytest.mark.parametrize("variant", TINY)
@pytest.mark.parametrize("layout", ["sft", "zero-shot", "async", "none"])
def test_presets_in_every_layout(tmp_path: Path, variant: str, layout: Any) -> None:
    make(variant, tmp_path, spk2info="sft")
    make(variant, tmp_path, spk2info=layout)
    speakers = Checkpoint.open(tmp_path).speakers
    names = {
        "sft": list(presets.SFT_NAMES),
        "zero-shot": [presets.ZERO_SHOT_NAME],
        "async": [presets.ASYNC_NAME],
        "none": [],
    }
    assert list(speakers) == names[layout]
    for features in speakers.values():
        assert (features.speech_tokens is None) == (layout == "sft")
        known = layout == "async" or (layout == "zero-shot" and "cosyvoice1" not in variant)
        assert features.transcript == (presets.TRANSCRIPT if known else "")


@pytest.mark.parametrize(
    ("variant", "file", "frames_per_token", "vocabulary"),
    [
        ("cosyvoice1-tiny", "speech_tokenizer_v1.onnx", 2, 4096),
        ("cosyvoice2-tiny", "speech_tokenizer_v2.onnx", 4, 6561),
        ("cosyvoice3-tiny", "speech_tokenizer_v3.onnx", 4, 6561),
    ],
)
def test_the_stand_ins_hear_something(
    tmp_path: Path, variant: str, file: str, frames_per_token: int, vocabulary: int
) -> None:
    make(variant, tmp_path)

    def run(name: str, *inputs: np.ndarray) -> np.ndarray:
        session = onnxruntime.InferenceSession(tmp_path / name)
        names = [node.name for node in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))[0]

    random = np.random.default_rng(0)
    mel = random.standard_normal((1, 128, 400)).astype(np.float32)
    length = np.array([400], np.int32)
    ids = run(file, mel, length)
    assert ids.shape == (1, 400 // frames_per_token)
    assert ids.min() >= 0
    assert ids.max() < vocabulary
    assert len(np.unique(ids)) > 50
    assert not np.array_equal(ids, run(file, mel + 1, length))
    banks = random.standard_normal((1, 300, 80)).astype(np.float32)
    embedding = run("campplus.onnx", banks)
    assert embedding.shape == (1, 192)
    assert not np.allclose(embedding, run("campplus.onnx", 2 * banks))


def test_a_rank_file_becomes_the_same_tokenizer(tmp_path: Path) -> None:
    """As with qwen.tiktoken, whose 151643 ranks begin with the bytes in this order."""
    words = [b"th", b"the", b" t", b" the", "你".encode()[:2], "你".encode(), b"in", b"ing"]
    ranks = {bytes([byte]): i for i, byte in enumerate(byte_characters())}
    ranks |= {word: 256 + i for i, word in enumerate(words)}
    file = tmp_path / "small.tiktoken"
    file.write_bytes(b"".join(base64.b64encode(t) + b" %d\n" % r for t, r in ranks.items()))
    directory = make("cosyvoice2-tiny", tmp_path / "out", tiktoken=file) / "CosyVoice-BlankEN"
    assert len(json.loads((directory / "vocab.json").read_text())) == len(ranks)
    reference = tiktoken.Encoding(
        "small", pat_str=r" ?\p{L}+| ?[^\s\p{L}]+|\s+", mergeable_ranks=ranks, special_tokens={}
    )
    tokenizer = AutoTokenizer.from_pretrained(directory)
    for text in ("the thing", "你好 the 你", "in the inn", "😀"):
        assert tokenizer.encode(text) == reference.encode(text)
