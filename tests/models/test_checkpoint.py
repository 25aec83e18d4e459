"""A checkpoint directory is looked through before anything of it is loaded."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoint_writer import embedding, write_checkpoint, write_speakers, write_weights
from torch_writer import Archive, call, name

from models.cosyvoice.checkpoint import Checkpoint, CheckpointError
from models.cosyvoice.features import FORMATS

SFT_NAMES = ("中文女", "中文男", "日语男", "粤语女", "英文女", "英文男", "韩语女")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"


@pytest.fixture(params=[1, 2, 3], ids=lambda version: f"cosyvoice{version}")
def version(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("templates")
    for version in (1, 2, 3):
        write_checkpoint(folder / str(version), version)
    return folder


@pytest.fixture
def directory(templates: Path, tmp_path: Path, version: int) -> Path:
    return shutil.copytree(templates / str(version), tmp_path / "model")


@pytest.fixture
def second(templates: Path, tmp_path: Path) -> Path:
    """A checkpoint of version 2."""
    return shutil.copytree(templates / "2", tmp_path / "second")


def test_each_version_is_told_by_its_files(directory: Path, version: int) -> None:
    checkpoint = Checkpoint.open(directory)
    assert checkpoint.version == version
    assert checkpoint.sample_rate_hz == (22050 if version == 1 else 24000)
    assert checkpoint.token_rate_hz == (50 if version == 1 else 25)
    assert checkpoint.text_vocabulary == {1: 51866, 2: 640, 3: 151936}[version]
    assert checkpoint.features_format in FORMATS
    assert checkpoint.yaml_path.is_file()
    assert checkpoint.speakers == {}


def test_a_full_size_checkpoint_is_looked_through_as_well(tmp_path: Path, version: int) -> None:
    directory = write_checkpoint(tmp_path / "full", version, f"cosyvoice{version}")
    assert Checkpoint.open(directory).version == version


@pytest.mark.parametrize(
    ("version", "variant", "expected"),
    [
        (1, "base", {"cloning": True, "clone_format": "cosyvoice1"}),
        (1, "sft", {"cloning": False, "clone_format": "", "instruction": False}),
        (1, "instruct", {"cloning": False, "clone_format": "", "instruction": True}),
        (2, None, {"cloning": True, "clone_format": "cosyvoice2", "instruction": True}),
        (3, None, {"cloning": True, "clone_format": "cosyvoice3", "instruction": True}),
    ],
)
def test_what_each_can_do_is_known_before_it_is_loaded(
    directory: Path, version: int, variant: str | None, expected: dict[str, object]
) -> None:
    write_speakers(directory / "spk2info.pt", {"中文女": {"embedding": embedding()}})
    description = Checkpoint.open(directory, variant=variant).describe("mine", slots=3)
    assert description.name == "mine"
    found = {key: getattr(description.capabilities, key) for key in expected}
    assert found == expected
    assert description.capabilities.slots == 3
    assert description.capabilities.text_stream == (version != 1)
    assert "[laughter]" in description.capabilities.marks or variant in ("base", "sft")
    (voice,) = description.voices
    assert (voice.name, voice.language, voice.gender) == ("中文女", "cmn", "female")


def test_text_is_not_streamed_where_the_operator_cannot_have_it(second: Path) -> None:
    description = Checkpoint.open(second).describe("mine", text_stream=False)
    assert not description.capabilities.text_stream


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("CosyVoice-300M", "base"),
        ("CosyVoice-300M-SFT", "sft"),
        ("CosyVoice-300M-Instruct", "instruct"),
        ("cosyvoice-300m-sft", "sft"),
        ("models--FunAudioLLM--CosyVoice-300M-SFT/snapshots/0123456789abcdef", "sft"),
        ("sft/CosyVoice-300M", "base"),
        ("anything", "base"),
        ("swift", "base"),
    ],
)
def test_the_variant_of_version_1_is_told_by_its_name(
    templates: Path, tmp_path: Path, folder: str, expected: str
) -> None:
    directory = shutil.copytree(templates / "1", tmp_path / folder)
    assert Checkpoint.open(directory).variant == expected
    link = tmp_path / "link"
    link.symlink_to(directory)
    assert Checkpoint.open(link).variant == expected
    assert Checkpoint.open(directory, variant="instruct").variant == "instruct"


def test_versions_2_and_3_have_no_variants(second: Path) -> None:
    with pytest.raises(CheckpointError, match="only version 1 comes in variants"):
        Checkpoint.open(second, variant="sft")


def refused(directory: Path) -> str:
    """The message of the refusal; it names a file, in one line."""
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(directory)
    message = str(caught.value)
    assert str(directory) in message
    assert "\n" not in message
    return message


def test_no_directory_and_no_checkpoint(tmp_path: Path) -> None:
    assert "is no directory" in refused(tmp_path / "nowhere")
    assert "has none of cosyvoice.yaml, cosyvoice2.yaml, cosyvoice3.yaml" in refused(tmp_path)


def test_two_versions_in_one_directory(second: Path) -> None:
    shutil.copy(second / "cosyvoice2.yaml", second / "cosyvoice3.yaml")
    assert "has cosyvoice2.yaml and cosyvoice3.yaml, of different versions" in refused(second)


def test_everything_that_is_missing_is_named(directory: Path, version: int) -> None:
    names = ["llm.pt", "campplus.onnx", f"speech_tokenizer_v{version}.onnx"]
    if version != 1:
        names += ["CosyVoice-BlankEN/vocab.json", "CosyVoice-BlankEN/model.safetensors"]
    for file in names:
        (directory / file).unlink()
    message = refused(directory)
    assert all(file in message for file in names)
    assert "the download is incomplete" in message


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def a_pointer(path: Path) -> None:
    path.write_bytes(POINTER)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def html(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><title>Not found</title>")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("llm.pt", cut, "llm.pt: is cut short or damaged; fetch it again"),
        ("flow.pt", a_pointer, "flow.pt: is a pointer of git-lfs; run git lfs pull"),
        ("hift.pt", html, "hift.pt: is not what torch.save writes; fetch it again"),
        ("hift.pt", a_directory, "lacks hift.pt"),
        ("campplus.onnx", empty, "campplus.onnx: is empty; fetch it again"),
        ("campplus.onnx", html, "campplus.onnx: is no ONNX model"),
        ("speech_tokenizer_v2.onnx", a_pointer, "is a pointer of git-lfs"),
        ("cosyvoice2.yaml", empty, "cosyvoice2.yaml: is empty"),
        ("cosyvoice2.yaml", html, "cosyvoice2.yaml: does not say sample_rate"),
        ("CosyVoice-BlankEN/model.safetensors", cut, "and ought to have"),
        ("CosyVoice-BlankEN/model.safetensors", html, "is no safetensors file"),
        ("CosyVoice-BlankEN/config.json", html, "config.json: is no JSON object"),
        ("CosyVoice-BlankEN/config.json", cut, "config.json: is no configuration"),
        ("CosyVoice-BlankEN/merges.txt", empty, "merges.txt: is empty"),
    ],
)
def test_a_damaged_file_is_named_with_the_remedy(
    second: Path, file: str, damage: Callable[[Path], None], message: str
) -> None:
    damage(second / file)
    assert message in refused(second)


@pytest.mark.parametrize("file", ["llm.pt", "flow.pt", "hift.pt"])
@pytest.mark.parametrize("other", [1, 2, 3])
def test_a_file_of_another_version_is_told(
    templates: Path, directory: Path, version: int, file: str, other: int
) -> None:
    shutil.copy(templates / str(other) / file, directory / file)
    if other == version:
        assert Checkpoint.open(directory).version == version
    else:
        message = refused(directory)
        assert f"{file}: holds the" in message
        assert f"of version {other}, but the other files are of version {version}" in message


def test_files_under_each_others_names(second: Path) -> None:
    shutil.copy(second / "flow.pt", second / "llm.pt")
    assert "llm.pt: does not hold the language model of any CosyVoice" in refused(second)


def test_a_vocoder_under_its_older_names(directory: Path, version: int) -> None:
    write_weights(directory / "hift.pt", f"cosyvoice{version}-tiny", "hift", prefix="generator.")
    assert Checkpoint.open(directory).version == version


def test_sizes_of_another_checkpoint(second: Path) -> None:
    write_weights(second / "llm.pt", "cosyvoice2", "llm")
    assert "describes a vocabulary and width of (640, 32)" in refused(second)


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        (
            "cosyvoice2.yaml",
            "sample_rate: 16000",
            "sample_rate is 16000, and only models with 24000",
        ),
        ("cosyvoice2.yaml", "token_frame_rate: 50", "token_frame_rate is 50"),
    ],
)
def test_rates_that_are_not_supported(second: Path, file: str, line: str, message: str) -> None:
    path = second / file
    key = line.split(":", maxsplit=1)[0]
    path.write_text(re.sub(rf"(?m)^{key}: .*$", line, path.read_text()))
    assert message in refused(second)


def test_a_pickle_that_would_run_something_stops_the_opening(second: Path) -> None:
    Archive().write(second / "llm.pt", {"weight": call(name("os", "system"), "exit 1")})
    assert "llm.pt: it would call os.system, and only tensors are read here" in refused(second)
    write_weights(second / "llm.pt", "cosyvoice2-tiny", "llm")
    Archive().write(second / "spk2info.pt", {"x": call(name("os", "system"), "exit 1")})
    assert "spk2info.pt: it would call os.system" in refused(second)


def test_the_official_presets_are_listed_with_language_and_gender(directory: Path) -> None:
    voices = {voice: {"embedding": embedding(i)} for i, voice in enumerate(SFT_NAMES)}
    write_speakers(directory / "spk2info.pt", voices)
    listed = Checkpoint.open(directory).describe("mine").voices
    assert [(voice.name, voice.language, voice.gender) for voice in listed] == [
        ("中文女", "cmn", "female"),
        ("中文男", "cmn", "male"),
        ("日语男", "ja", "male"),
        ("粤语女", "yue", "female"),
        ("英文女", "en", "female"),
        ("英文男", "en", "male"),
        ("韩语女", "ko", "female"),
    ]


def test_a_transcript_kept_as_tokens_is_read_back(templates: Path, tmp_path: Path) -> None:
    """Version 3 puts a prompt of its own before it, which nobody says."""
    directory = shutil.copytree(templates / "3", tmp_path / "third")
    tokens = np.arange(6, dtype=np.int32)[np.newaxis]
    prompt = np.array([[72, 72, 151646, 71, 72, 220, 9, 71, 99999]], np.int32)
    fields = {
        "prompt_text": prompt,
        "prompt_text_len": np.array([9], np.int32),
        "llm_prompt_speech_token": tokens,
        "flow_prompt_speech_token": tokens,
        "prompt_speech_feat": np.zeros((1, 12, 80), np.float32),
        "llm_embedding": embedding(),
        "flow_embedding": embedding(),
    }
    write_speakers(directory / "spk2info.pt", {"someone": fields})
    features = Checkpoint.open(directory).speakers["someone"]
    assert features.transcript == "hi h"
    assert features.language == "en"
    np.testing.assert_array_equal(features.prompt_text, prompt[0])
