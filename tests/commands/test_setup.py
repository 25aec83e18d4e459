"""`cosystream setup cosyvoice`, with a Python that installs nothing and a git that is real."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Cosystream
from fake_python import FakePython

from server import cosyvoice_parts
from server.commands import checkout, environment
from server.commands.environment import NEEDED_BYTES, TORCH, WITHOUT_DEPENDENCIES

_GIT = shutil.which("git") or "git"


@pytest.fixture
def python(tmp_path: Path) -> FakePython:
    return FakePython(tmp_path / "fake")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environment, "NEEDED_BYTES", dict.fromkeys(NEEDED_BYTES, 1))
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6\n")
    monkeypatch.setattr(environment, "REQUIREMENTS", tmp_path / "requirements.txt")
    for name in ("COSYSTREAM_COSYVOICE_HOME", "COSYSTREAM_COSYVOICE_INTERPRETER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COSYSTREAM_DATA_DIRECTORY", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def setup(cosystream: Cosystream, python: FakePython) -> Callable[..., tuple[int, str]]:
    def run(*arguments: object) -> tuple[int, str]:
        outcome = cosystream("setup", "cosyvoice", "--python", python.program, *arguments)
        assert outcome.out == b""
        return outcome.code, outcome.err

    return run


Setup = Callable[..., tuple[int, str]]


def _checkout(folder: Path, *, submodule: bool = True) -> Path:
    files = ["cosyvoice/cli/model.py"]
    if submodule:
        files.append("third_party/Matcha-TTS/matcha/models/components/flow_matching.py")
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_it_installs_torch_first_and_some_without_their_dependencies(
    setup: Setup, python: FakePython, data: Path
) -> None:
    code, said = setup("--cpu")
    assert code == 0, said
    venv, torch, requirements, bare, probe = python.orders()
    directory = data / "environments" / "cosyvoice"
    assert venv == f"-m venv {directory}"
    assert torch.split()[-1] == TORCH["cpu"]
    assert requirements.endswith(f"-r {environment.REQUIREMENTS}")
    assert bare.endswith(f"--no-deps {' '.join(WITHOUT_DEPENDENCIES)}")
    assert probe.startswith("probe")
    assert "torch 2.13.0+cpu" in said


def test_a_second_run_does_nothing(setup: Setup, python: FakePython) -> None:
    setup("--cpu")
    python.orders()
    code, said = setup("--cpu")
    assert (code, python.orders()) == (0, [])
    assert "is up to date" in said


def test_an_interrupted_run_goes_on_where_it_was(setup: Setup, python: FakePython) -> None:
    python.break_at("-r ")
    code, said = setup("--cpu")
    assert code == 1
    assert "pip failed with exit code 3" in said
    assert "goes on from here" in said
    python.break_at("")
    python.orders()
    code, said = setup("--cpu")
    assert code == 0, said
    assert not any("venv" in order for order in python.orders())


def test_an_environment_that_was_interrupted_half_made_is_made_anew(
    setup: Setup, python: FakePython, data: Path
) -> None:
    """Its Python runs, but pip may not be there yet."""
    python.break_at("-m venv")
    assert setup("--cpu")[0] == 1
    directory = data / "environments" / "cosyvoice"
    (directory / "lib64").symlink_to("lib")
    (directory / "rest").touch()
    python.orders()
    python.break_at("")
    code, said = setup("--cpu")
    assert code == 0, said
    assert python.orders()[0] == f"-m venv {directory}"
    assert not (directory / "rest").exists()
    assert (directory / "lib" / "python3.12").is_dir()


def test_what_does_not_work_is_not_up_to_date(setup: Setup, python: FakePython) -> None:
    python.report(broken={"onnxruntime": "OSError: libstdc++"})
    code, said = setup("--cpu")
    assert code == 1
    assert "onnxruntime: OSError: libstdc++" in said
    python.report()
    assert "is up to date" not in setup("--cpu")[1]


def test_other_pins_or_another_processor_are_installed_over_it(
    setup: Setup, python: FakePython
) -> None:
    setup("--cpu")
    python.orders()
    python.report(cuda_build="12.8", gpus=["NVIDIA H100"], versions={"torch": "2.10.0"})
    code, said = setup("--cuda", "12")
    assert code == 0, said
    assert python.orders()[0].split()[-1] == TORCH["cuda12"]
    assert "built for CUDA 12.8; GPUs: NVIDIA H100" in said


def test_a_cpu_build_where_cuda_was_asked_for_is_an_error(setup: Setup) -> None:
    code, said = setup("--cuda", "13")
    assert code == 1
    assert "a build without CUDA" in said


def test_somebody_elses_directory_is_left_alone(
    setup: Setup, python: FakePython, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "letter").write_text("dear")
    code, said = setup("--cpu", "--directory", tmp_path / "theirs")
    assert code == 1
    assert "did not make" in said
    assert python.orders() == []


def test_an_environment_elsewhere_names_its_setting(setup: Setup, tmp_path: Path) -> None:
    code, said = setup("--cpu", "--directory", tmp_path / "else where")
    assert code == 0
    wanted = f"set COSYSTREAM_COSYVOICE_INTERPRETER='{tmp_path}/else where/bin/python'"
    assert wanted in said.splitlines()


def test_too_small_a_disk_is_told_before_anything_is_done(
    setup: Setup, python: FakePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(environment.NEEDED_BYTES, "cpu", 1 << 60)
    code, said = setup("--cpu")
    assert code == 1
    assert "GB free" in said
    assert python.orders() == []


def test_a_python_that_is_too_old(setup: Setup, python: FakePython) -> None:
    python.set_version(3, 10)
    code, said = setup("--cpu")
    assert code == 1
    assert "needs Python 3.11 to 3.13" in said


def test_processors_exclude_each_other(setup: Setup) -> None:
    assert setup("--cpu", "--cuda", "12")[0] == 2


@pytest.mark.parametrize(
    ("script", "torch"),
    [
        ("echo '| Driver Version: 550.54   CUDA Version: 12.4 |'", TORCH["cuda12"]),
        ("echo '| Driver Version: 590.1    CUDA Version: 13.1 |'", TORCH["cuda13"]),
        ("exit 9", TORCH["cpu"]),
    ],
)
def test_without_a_wish_the_driver_decides(
    setup: Setup,
    python: FakePython,
    install_player: Callable[[str, str], Path],
    script: str,
    torch: str,
) -> None:
    install_player("nvidia-smi", script)
    python.report(cuda_build="any")
    setup()
    assert python.orders()[1].split()[-1] == torch


# --- The official package --------------------------------------------------------------------


def test_a_missing_package_is_told_with_its_remedy(setup: Setup, python: FakePython) -> None:
    code, said = setup("--cpu")
    assert code == 0
    assert "setup cosyvoice --clone" in said
    assert python.orders()[-1].split() == ["probe"]


def test_a_checkout_is_verified_imported_and_its_setting_named(
    setup: Setup, python: FakePython, tmp_path: Path
) -> None:
    home = _checkout(tmp_path / "CosyVoice")
    code, said = setup("--cpu", "--home", home)
    assert code == 0, said
    assert f"set COSYSTREAM_COSYVOICE_HOME={home}" in said.splitlines()
    assert python.orders()[-1] == f"probe  {home}"


def test_a_checkout_in_the_data_directory_needs_no_setting(setup: Setup, data: Path) -> None:
    _checkout(data / "cosyvoice")
    code, said = setup("--cpu")
    assert code == 0
    assert "set COSYSTREAM" not in said
    assert "missing" not in said


def test_a_package_inside_the_environment_is_found(
    setup: Setup, python: FakePython, data: Path
) -> None:
    setup("--cpu")
    packages = data / "environments/cosyvoice/lib/python3.12/site-packages"
    _checkout(packages)
    assert "missing" not in setup("--cpu")[1]


@pytest.mark.parametrize(
    ("submodule", "remedy"), [(False, "submodule update --init"), (None, "git clone --recursive")]
)
def test_half_a_checkout(setup: Setup, tmp_path: Path, submodule: bool | None, remedy: str) -> None:
    home = tmp_path / "CosyVoice"
    home.mkdir()
    if submodule is not None:
        _checkout(home, submodule=submodule)
    code, said = setup("--cpu", "--home", home)
    assert code == 1
    assert remedy in said


def test_a_package_that_does_not_import(setup: Setup, python: FakePython, tmp_path: Path) -> None:
    python.report(official="ImportError: no module named matcha")
    code, said = setup("--cpu", "--home", _checkout(tmp_path / "CosyVoice"))
    assert code == 1
    assert "no module named matcha" in said


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cosystream: Cosystream) -> Path:
    """A repository with a submodule, as small as can be, instead of the official one."""
    del cosystream  # it sets the PATH, which has to have a git here
    monkeypatch.setenv("PATH", str(Path(_GIT).parent))
    for key, value in {
        "GIT_CONFIG_COUNT": "3",
        "GIT_CONFIG_KEY_0": "protocol.file.allow",
        "GIT_CONFIG_VALUE_0": "always",
        "GIT_CONFIG_KEY_1": "user.name",
        "GIT_CONFIG_VALUE_1": "test",
        "GIT_CONFIG_KEY_2": "user.email",
        "GIT_CONFIG_VALUE_2": "test@example.org",
    }.items():
        monkeypatch.setenv(key, value)
    matcha, official = tmp_path / "matcha", tmp_path / "official"
    inner = _checkout(tmp_path / "files") / "third_party/Matcha-TTS"
    inner.rename(matcha)
    shutil.copytree(tmp_path / "files" / "cosyvoice", official / "cosyvoice")
    for folder in (matcha, official):
        _git(folder, "init", "-q")
        if folder is official:
            _git(folder, "submodule", "--quiet", "add", str(matcha), "third_party/Matcha-TTS")
        _git(folder, "add", ".")
        _git(folder, "commit", "-q", "-m", "first")
    commit = _git(official, "rev-parse", "HEAD")
    (official / "later").touch()
    _git(official, "add", ".")
    _git(official, "commit", "-q", "-m", "later")
    monkeypatch.setattr(checkout, "REPOSITORY", str(official))
    monkeypatch.setattr(checkout, "COMMIT", commit)
    return official


def _git(folder: Path, *arguments: str) -> str:
    command = [_GIT, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.usefixtures("repository")
def test_cloning_takes_the_pinned_commit_and_its_submodule(
    setup: Setup, python: FakePython, data: Path
) -> None:
    code, said = setup("--cpu", "--clone")
    assert code == 0, said
    home = data / "cosyvoice"
    cosyvoice_parts.check_home(home)
    assert not (home / "later").exists()
    assert python.orders()[-1] == f"probe  {home}"
    code, said = setup("--cpu", "--clone")
    assert code == 0
    assert f"the official package is at {home}, commit {checkout.COMMIT[:7]}" in said


def test_another_commit_is_told_of(setup: Setup, repository: Path, tmp_path: Path) -> None:
    _git(tmp_path, "clone", "-q", "--recursive", str(repository), "newer")
    code, said = setup("--cpu", "--home", tmp_path / "newer")
    assert code == 0, said
    assert f"this server was tried with {checkout.COMMIT[:7]}" in said


def test_a_repository_that_cannot_be_reached_leaves_nothing_behind(
    setup: Setup, repository: Path, data: Path
) -> None:
    repository.rename(repository.with_name("gone"))
    code, said = setup("--cpu", "--clone")
    assert code == 1
    assert "git clone failed" in said
    assert list(data.iterdir()) == []
