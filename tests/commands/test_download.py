"""`cosystream download`: with a made-up hub's client, and with the real ones on a fake hub."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Cosystream
from cosyvoice_environment import Checkpoints
from fake_hub import FakeHub

from models.cosyvoice.checkpoint import Checkpoint, CheckpointError
from server.commands import download, environment
from server.releases import RELEASES, Hub

_CLIENT = """
import json, pathlib, sys
home = pathlib.Path({home!r})
def snapshot_download(repository, *, local_dir, allow_patterns):
    print("client's own talk")
    (home / "asked").write_text(json.dumps([repository, local_dir, allow_patterns]))
    if (home / "failure").exists():
        raise ConnectionError((home / "failure").read_text())
    pathlib.Path(local_dir, "llm.pt").write_bytes(b"weights")
"""


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COSYSTREAM_DATA_DIRECTORY", str(tmp_path / "data"))
    monkeypatch.setattr(download, "_SPARE_BYTES", -10_000_000_000)
    return tmp_path / "data"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a client that fetches one small file."""
    folder = tmp_path / "client"
    folder.mkdir()
    (folder / "modelscope.py").write_text(_CLIENT.format(home=str(folder)))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("COSYSTREAM_COSYVOICE_INTERPRETER", sys.executable)
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says what opening a checkpoint shall end with; an empty directory is none in any case."""

    def outcome(failure: str) -> None:
        def opened(directory: Path) -> None:
            if failure or not any(directory.glob("*")):
                raise CheckpointError(failure or "empty")

        monkeypatch.setattr(download.Checkpoint, "open", opened)

    outcome("")
    return outcome


@pytest.mark.usefixtures("opened")
def test_a_checkpoint_comes_into_the_data_directory(
    cosystream: Cosystream, client: Path, data: Path
) -> None:
    outcome = cosystream("download", "cosyvoice2")
    assert outcome.code == 0, outcome.err
    directory = data / "models" / "cosyvoice2"
    assert (directory / "llm.pt").exists()
    assert "next: cosystream serve --model cosyvoice2" in outcome.err.splitlines()
    assert "cosystream voices add" in outcome.err
    asked = (client / "asked").read_text()
    assert asked.startswith(f'["iic/CosyVoice2-0.5B", "{directory}", ["cosyvoice2.yaml"')
    assert "CosyVoice-BlankEN/*" in asked
    assert "estimator" not in asked
    assert "zip" not in asked
    assert outcome.out == b""


@pytest.mark.usefixtures("opened")
def test_another_place_has_to_be_named_when_it_is_served(
    cosystream: Cosystream, client: Path, tmp_path: Path
) -> None:
    outcome = cosystream(
        "download", "cosyvoice-300m-sft", "--directory", "here", "--jit", "--tensorrt"
    )
    wanted = f"next: cosystream serve --model cosyvoice-300m-sft={tmp_path}/here"
    assert wanted in outcome.err.splitlines()
    asked = (client / "asked").read_text()
    assert "flow.decoder.estimator.fp32.onnx" in asked
    assert "llm.llm.*.zip" in asked
    assert "voices add" not in outcome.err


@pytest.mark.usefixtures("opened")
def test_what_is_complete_asks_no_hub(cosystream: Cosystream, client: Path) -> None:
    cosystream("download", "cosyvoice2")
    (client / "asked").unlink()
    assert "complete already" in cosystream("download", "cosyvoice2").err
    assert not (client / "asked").exists()
    cosystream("download", "cosyvoice2", "--tensorrt")
    assert (client / "asked").exists()
    (client / "asked").unlink()
    cosystream("download", "cosyvoice2", "--again")
    assert (client / "asked").exists()


@pytest.mark.usefixtures("opened")
def test_a_hub_that_does_not_answer(cosystream: Cosystream, client: Path) -> None:
    (client / "failure").write_text("no route\nto host")
    outcome = cosystream("download", "cosyvoice3")
    assert outcome.code == 1
    line = outcome.err.splitlines()[-1]
    assert "Fun-CosyVoice3-0.5B was not fetched from modelscope" in line
    assert "ConnectionError: no route to host" in line
    assert "--hub huggingface" in line


@pytest.mark.usefixtures("client")
def test_what_the_hub_has_is_looked_through(
    cosystream: Cosystream, opened: Callable[[str], None]
) -> None:
    opened("llm.pt: is cut off")
    outcome = cosystream("download", "cosyvoice2")
    assert outcome.code == 1
    assert "no whole checkpoint: llm.pt: is cut off" in outcome.err


@pytest.mark.usefixtures("opened", "client")
def test_too_small_a_disk(cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_SPARE_BYTES", 1 << 60)
    outcome = cosystream("download", "cosyvoice2")
    assert outcome.code == 1
    assert "GB free" in outcome.err


@pytest.mark.usefixtures("opened", "client")
def test_another_versions_directory(cosystream: Cosystream, tmp_path: Path) -> None:
    (tmp_path / "cosyvoice3.yaml").touch()
    outcome = cosystream("download", "cosyvoice2", "--directory", tmp_path)
    assert outcome.code == 1
    assert "another version (cosyvoice3.yaml)" in outcome.err


def test_without_an_environment_it_says_how_to_make_one(
    cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COSYSTREAM_COSYVOICE_INTERPRETER", raising=False)
    outcome = cosystream("download", "cosyvoice2")
    assert outcome.code == 1
    assert "cosystream setup cosyvoice" in outcome.err


@pytest.mark.usefixtures("client")
def test_version_3_has_nothing_for_jit(cosystream: Cosystream) -> None:
    assert cosystream("download", "cosyvoice3", "--jit").code == 2


def test_an_unknown_checkpoint_is_wrong_usage(cosystream: Cosystream) -> None:
    outcome = cosystream("download", "cosyvoice9")
    assert outcome.code == 2


def test_the_command_knows_every_release() -> None:
    assert set(download.ReleaseName.__args__) == set(RELEASES)


def test_disk_is_asked_of_what_exists(tmp_path: Path) -> None:
    environment.check_room(tmp_path / "not" / "yet", 1, "it")


# --- The hubs' own clients -------------------------------------------------------------------


@pytest.fixture
def served(
    checkpoints: Checkpoints,
    cosyvoice_python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A tiny checkpoint for a hub to serve; clients find their own folders empty."""
    monkeypatch.setenv("COSYSTREAM_COSYVOICE_INTERPRETER", str(cosyvoice_python))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return checkpoints.tiny(2)


def _name_hub(monkeypatch: pytest.MonkeyPatch, hub: FakeHub) -> None:
    for variable in ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT"):
        monkeypatch.setenv(variable, hub.url)


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_the_real_client_fetches_goes_on_and_leaves_out_the_rest(
    cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch, served: Path, data: Path, name: Hub
) -> None:
    with FakeHub(served, break_at={"flow.pt": 100_000}) as hub:
        _name_hub(monkeypatch, hub)
        outcome = cosystream("download", "cosyvoice2", "--hub", name)
        if outcome.code != 0:
            # Hugging Face's client leaves a transfer that broke off to the next run.
            assert name == "huggingface"
            assert "was not fetched from huggingface" in outcome.err
            outcome = cosystream("download", "cosyvoice2", "--hub", name)
        assert outcome.code == 0, outcome.err
        assert hub.repositories == {RELEASES["cosyvoice2"].repository(name)}
    directory = data / "models" / "cosyvoice2"
    assert Checkpoint.open(directory).version == 2
    assert (directory / "flow.pt").read_bytes() == (served / "flow.pt").read_bytes()
    assert not (directory / "configuration.json").exists()
    if name == "modelscope":
        assert hub.ranges == [("flow.pt", "bytes=100000-")]


@pytest.mark.parametrize("name", ["modelscope", "huggingface"])
def test_a_file_whose_checksum_is_wrong_is_not_kept(
    cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch, served: Path, data: Path, name: Hub
) -> None:
    with FakeHub(served, spoiled=frozenset({"llm.pt"})) as hub:
        _name_hub(monkeypatch, hub)
        outcome = cosystream("download", "cosyvoice2", "--hub", name)
    assert outcome.code == 1
    assert "llm.pt" in outcome.err.splitlines()[-1]
    assert not (data / "models" / "cosyvoice2" / "llm.pt").exists()


def test_a_repository_that_is_not_there(
    cosystream: Cosystream, monkeypatch: pytest.MonkeyPatch, served: Path
) -> None:
    with FakeHub(served.parent / "nothing") as hub:
        _name_hub(monkeypatch, hub)
        outcome = cosystream("download", "cosyvoice2")
    assert outcome.code == 1
    assert "was not fetched" in outcome.err


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("release", [("cosyvoice-300m-sft", 1), ("cosyvoice3", 3)])
def test_what_is_fetched_of_the_other_versions_is_a_whole_checkpoint(
    cosystream: Cosystream,
    monkeypatch: pytest.MonkeyPatch,
    checkpoints: Checkpoints,
    data: Path,
    release: tuple[str, int],
) -> None:
    name, version = release
    with FakeHub(checkpoints.tiny(version)) as hub:
        _name_hub(monkeypatch, hub)
        outcome = cosystream("download", name)
    assert outcome.code == 0, outcome.err
    assert Checkpoint.open(data / "models" / name).version == version
