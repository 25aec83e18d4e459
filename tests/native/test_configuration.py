"""A checkpoint's YAML file gives its numbers, and builds nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.cosyvoice.errors import CheckpointError
from models.native.configuration import Section, read_configuration
from models.random_checkpoint.configuration import configuration_text
from models.random_checkpoint.variants import VARIANTS

HOME = os.environ.get("COSYSTREAM_COSYVOICE_HOME")


def read(folder: Path, text: str) -> Section:
    path = folder / "cosyvoice2.yaml"
    path.write_bytes(text.encode())
    return read_configuration(path)


@pytest.mark.parametrize(("variant", "decoder"), [("cosyvoice2", 50), ("cosyvoice3", 50)])
def test_our_own_files(tmp_path: Path, variant: str, decoder: int) -> None:
    configuration = read(tmp_path, configuration_text(VARIANTS[variant]))
    estimator = configuration.section("flow").section("decoder").section("estimator")
    assert estimator.integer("static_chunk_size") == decoder
    assert configuration.section("hift").integer("sampling_rate") == 24000
    assert configuration.section("hift").lists("resblock_dilation_sizes") == ((1, 3, 5),) * 3
    assert configuration.section("llm").section("sampling").number("top_p") == 0.8


@pytest.mark.skipif(not HOME, reason="COSYSTREAM_COSYVOICE_HOME names no checkout")
@pytest.mark.parametrize(("version", "name"), [(2, "Qwen2LM"), (3, "CosyVoice3LM")])
def test_the_official_files(version: int, name: str) -> None:
    (path,) = Path(HOME or "").glob(f"examples/libritts/cosyvoice{version}/conf/*.yaml")
    configuration = read_configuration(path)
    assert configuration.section("llm").class_name == name
    assert configuration.section("llm").integers("mix_ratio") == (5, 15)
    assert configuration.section("feat_extractor").is_null("fmax") == (version == 3)


def test_references(tmp_path: Path) -> None:
    text = "a: 25\nb: 2\nc: !ref <a> * <b>\nd: !ref <c> / 5 + 1\ne:\n  f: !ref <d>\n"
    configuration = read(tmp_path, text)
    assert (configuration.integer("c"), configuration.integer("d")) == (50, 11)
    assert configuration.section("e").integer("f") == 11


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "is no YAML"),
        ("- 1", "is no configuration"),
        ("a: 1\na: 2", "says a twice"),
        ("? [1]\n: 2", "has a key that is no word"),
        ("a: !ref <b>", "refers to <b>"),
        ("b: 1\na: !ref <b>.real", "has the reference"),
        ("b: 1\na: !ref <b> ** 9", "has the reference"),
        ("b: 1\na: !ref <b> / 0", "has the reference"),
        ("b: x\na: !ref <b> * 2", "has the reference"),
        ("a: " + "[" * 40 + "]" * 40, "is nested too deeply"),
        ("a: " + "x" * 300_000, "is too big"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message.replace("*", r"\*")):
        read(tmp_path, text)


def test_nothing_is_built(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    configuration = read(
        tmp_path,
        f"a: !!python/object/apply:os.system ['touch {evidence}']\n"
        f"b: !apply:os.system ['touch {evidence}']\n"
        f"c: !new:os.system {evidence}\n",
    )
    assert not evidence.exists()
    for key in "abc":
        with pytest.raises(CheckpointError):
            configuration.integer(key)


def test_values_of_another_type(tmp_path: Path) -> None:
    configuration = read(tmp_path, "a: true\nb: 1.5\nc: [1, x]\nd: [[1], 2]\ne: 3\nf: null\n")
    for ask, key in (
        (configuration.integer, "a"),
        (configuration.number, "a"),
        (configuration.integer, "b"),
        (configuration.integers, "c"),
        (configuration.lists, "d"),
        (configuration.section, "e"),
        (configuration.text, "e"),
    ):
        with pytest.raises(CheckpointError, match=f"{key} is no "):
            ask(key)
    with pytest.raises(CheckpointError, match="does not say f"):
        configuration.integer("f")
    assert configuration.integer("g", 7) == 7
