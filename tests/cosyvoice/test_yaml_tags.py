"""A checkpoint's YAML file builds what official ones do, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.yaml_tags import check_yaml_tags
from models.random_checkpoint.configuration import configuration_text
from models.random_checkpoint.variants import VARIANTS

HOME = os.environ.get("COSYSTREAM_COSYVOICE_HOME")
GOOD = configuration_text(VARIANTS["cosyvoice2"])
PAYLOAD = "!!python/object/apply:os.system ['exit 1']"


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_our_own_files_pass(tmp_path: Path, variant: str, training: bool) -> None:
    text = configuration_text(VARIANTS[variant], training=training)
    assert check_yaml_tags(write(tmp_path / "cosyvoice.yaml", text)) == text


@pytest.mark.skipif(not HOME, reason="COSYSTREAM_COSYVOICE_HOME names no checkout")
def test_the_official_files_pass() -> None:
    files = list(Path(HOME or "", "examples").rglob("cosyvoice*.yaml"))
    assert len(files) >= 3
    for path in files:
        check_yaml_tags(path)


@pytest.mark.parametrize(
    "line",
    [
        "a: !new:subprocess.Popen [['true']]",
        "a: !apply:os.system ['exit 1']",
        "a: !name:os.system",
        "a: !module:os",
        "a: !include:/etc/passwd",
        "a: !applyref:os.system ['exit 1']",
        f"a: {PAYLOAD}",
        "a: !<tag:yaml.org,2002:python/object/apply:os.system> ['exit 1']",
        "a: !tuple (1, 2)",
        "a: !copy <llm>",
        "a: !!str b",
        "a: ! b",
        # harmless packages that contain others
        "a: !new:cosyvoice.utils.file_utils.subprocess.Popen [['true']]",
        "a: !name:cosyvoice.utils.common.random._os.system",
        "a: !name:matcha.utils.audio.np.os.system",
        "a: !apply:random._os.system ['exit 1']",
        "a: !new:omegaconf.DictConfig.__class__ {}",
        "!new:subprocess.Popen a: b",
    ],
)
def test_other_tags_are_refused(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "cosyvoice2.yaml", f"{GOOD}{line}\n")
    with pytest.raises(CheckpointError, match=r"cosyvoice2\.yaml: would build "):
        check_yaml_tags(path)


@pytest.mark.parametrize(
    "line",
    [
        f"a: ({PAYLOAD})",
        f'a: "({PAYLOAD})"',
        f"a:\n  - [({PAYLOAD.replace('[', '').replace(']', '')})]",
        f"({PAYLOAD}): a",
        "a: !ref <llm.__class__>",
        "a: <llm.__class__>",
        "a: !ref <sample_rate>)",
        "a: !ref <sample_rate> ** <sample_rate>",
        "a: !ref x<sample_rate>",
    ],
)
def test_values_that_hyperpyyaml_would_run_are_refused(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "cosyvoice2.yaml", f"{GOOD}{line}\n")
    with pytest.raises(CheckpointError, match="which hyperpyyaml would run"):
        check_yaml_tags(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}a: &x [1]\nb: *x\n", "has anchors"),
        (f"{GOOD}a: *sample_rate\n", "has anchors|is no YAML"),
        (f"{GOOD}---\na: b\n", "several documents"),
        (f"%TAG !x! !new:os.\n---\n{GOOD}", "or directives"),
        (f"%YAML 1.1\n---\n{GOOD}", "or directives"),
        (f"{GOOD}# \u2028a: {PAYLOAD}\n", "control characters"),
        (f"{GOOD}# \x85a: {PAYLOAD}\n", "control characters"),
        (f"{GOOD}a: \x07\n", "control characters"),
        (f"{GOOD}a: [\n", "is no YAML"),
        (f"{GOOD}a: {'[' * 40}{']' * 40}\n", "nested too deeply"),
        (f"{GOOD}# {'x' * (256 << 10)}\n", "too big"),
    ],
)
def test_other_ways_to_hide_something_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "cosyvoice2.yaml", text)
    with pytest.raises(CheckpointError, match=message):
        check_yaml_tags(path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cosyvoice2.yaml"
    path.write_bytes(b"sample_rate: 24000\n\xff\xfe")
    with pytest.raises(CheckpointError, match="no UTF-8 text"):
        check_yaml_tags(path)


def test_the_hole_that_is_closed_is_real(tmp_path: Path) -> None:
    """A plain value in brackets runs code in hyperpyyaml: nothing but the check keeps it away."""
    from hyperpyyaml import load_hyperpyyaml

    marker = tmp_path / "ran"
    path = tmp_path / "cosyvoice2.yaml"
    write(path, f"a: (!!python/object/apply:os.mkdir [{marker}])\n")
    with pytest.raises(CheckpointError, match="would run"):
        check_yaml_tags(path)
    assert not marker.exists()
    load_hyperpyyaml(path.read_text())
    assert marker.exists()
