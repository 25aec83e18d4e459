"""`cosystream bench` on CosyVoice: what is made ready, what is watched, and what is said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Cosystream
from cosyvoice_environment import interpreter
from fake_python import FakePython

from server.bench import against, gpu, soak, weights
from server.bench.hosting import Hosting, find_hosting
from server.bench.metrics import Scrape
from server.bench.neural import NeuralPython
from server.bench.soak import Look, soak_figures
from server.bench.weights import Weights, random_weights
from server.commands.bench_options import BenchOptions, CapacityOptions, ModelOptions
from server.commands.environment_report import EnvironmentReport
from server.commands.failure import CommandError

NATIVE = ModelOptions(model="native", random="tiny")


class Python(NeuralPython):
    """Does nothing, and remembers what it was asked for."""

    def __init__(self, answer: str = "", *, gpus: tuple[str, ...] = ()) -> None:
        report = EnvironmentReport(
            python="3.12", broken={}, versions={"torch": "2"}, gpus=list(gpus)
        )
        super().__init__(Path("/nowhere/python"), report)
        object.__setattr__(self, "answer", answer)
        object.__setattr__(self, "asked", [])

    def run(self, module: str, arguments: Any) -> str:
        self.asked.append([module, *arguments])
        if module == "models.random_checkpoint":
            (Path(arguments[1]) / "llm.pt").write_text(self.answer)
        return self.answer


# --- Options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "native"],
        ["--model", "native", "--random", "tiny", "--checkpoint", "/x"],
        ["--model", "native", "--random", "tiny", "--url", "127.0.0.1:1"],
        ["--model", "native", "--random", "tiny", "--serve-args", "--model x"],
        ["--model", "native", "--random", "tiny", "--option", "slots"],
        ["--model", "native", "--random", "tiny", "--check-tokens"],
        ["--model", "native", "--random", "tiny", "--against", "official", "--streams", "0"],
        ["--random", "tiny"],
        ["--option", "slots=1"],
        ["--capacity", "--rate", "1"],
        ["--capacity", "--floor"],
        ["--model", "native", "--random", "tiny", "--version", "1"],
    ],
)
def test_wrong_usage(cosystream: Cosystream, arguments: list[str]) -> None:
    assert cosystream("bench", *arguments).code == 2


def test_options_of_the_model_are_numbers_words_and_flags() -> None:
    options = ModelOptions(option=["slots=64", "bf16=true", "hops=growing", "flow_memory_gib=1.5"])
    assert options.hosted_options() == {
        "slots": 64,
        "bf16": True,
        "hops": "growing",
        "flow_memory_gib": 1.5,
    }


def test_options_that_are_not_given_make_the_bench_of_before() -> None:
    checked = BenchOptions().checked(ModelOptions(), CapacityOptions())
    assert (checked.sessions, checked.ramp_seconds) == (1, 0.0)
    assert find_hosting(ModelOptions(), slots=None, say=print) is None


def test_several_streams_in_one_option(cosystream: Cosystream) -> None:
    """They are read; then the environment is missing, which is said with its remedy."""
    arguments = ["--model", "native", "--random", "tiny", "--against", "official"]
    outcome = cosystream("bench", *arguments, "--streams", "1", "4", "8")
    assert outcome.code == 1
    assert "(make it: cosystream setup cosyvoice)" in outcome.err


def test_an_environment_without_torch_is_told(
    cosystream: Cosystream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = FakePython(tmp_path / "fake")
    python.report(broken={"torch": "ModuleNotFoundError: No module named 'torch'"})
    monkeypatch.setenv("COSYSTREAM_COSYVOICE_INTERPRETER", str(python.program))
    outcome = cosystream("bench", "--model", "native", "--random", "tiny")
    assert outcome.code == 1
    assert "No module named 'torch' (cosystream setup cosyvoice)" in outcome.err


# --- Weights -----------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cosystream" / "random"


def test_random_weights_are_made_once(cache: Path) -> None:
    python, said = Python(), list[str]()
    made = [random_weights(python, "tiny", 2, vocabulary=None, say=said.append) for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].directory.parent == cache
    assert len(python.asked) == 1
    assert python.asked[0][1] == "cosyvoice2-tiny"
    assert "2.5 speech tokens (0.04 s each) per token" in made[0].description
    assert [str(made[0].directory) in line for line in said] == [True, True]
    assert all("deleted" in line for line in said)


def test_each_version_and_vocabulary_has_weights_of_its_own(cache: Path, tmp_path: Path) -> None:
    words = tmp_path / "qwen.tiktoken"
    found = {
        random_weights(Python(), "full", version, vocabulary=vocabulary, say=print).directory
        for version in (2, 3)
        for vocabulary in (words, None)
    }
    # Without a vocabulary, that of the installed dashscope is taken.
    assert len(found) == 2
    assert all("-words-" in path.name for path in found)


def test_weights_that_were_not_finished_are_not_used(cache: Path) -> None:
    class Failing(Python):
        def run(self, module: str, arguments: Any) -> str:
            super().run(module, arguments)
            raise CommandError("no space left on device")

    with pytest.raises(CommandError, match="no space"):
        random_weights(Failing(), "tiny", 2, vocabulary=None, say=print)
    assert not list(cache.iterdir())


def test_another_maker_makes_other_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = weights._fingerprint(2.0)
    (tmp_path / "maker.py").write_text("changed")
    monkeypatch.setattr(weights.models.random_checkpoint, "__path__", [str(tmp_path)])
    assert weights._fingerprint(2.0) != before


# --- What is hosted ----------------------------------------------------------------------------


def _hosting(python: NeuralPython, **options: Any) -> Hosting:
    return Hosting(
        python=python,
        weights=Weights(directory=Path("/w"), description="random"),
        engine="native",
        model_options=options,
        home=Path("/home"),
    )


def test_the_server_is_told_of_the_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NeuralPython, "find", Python)
    hosting = find_hosting(NATIVE, slots=64, say=print)
    [model] = json.loads(hosting.environment["COSYSTREAM_MODELS"])
    assert model["kind"] == str(hosting.weights.directory)
    # Without a GPU, so many slots would only take memory.
    assert model["options"] == {"slots": 8, "engine": "native"}
    monkeypatch.setattr(NeuralPython, "find", lambda: Python(gpus=("H200",)))
    assert find_hosting(NATIVE, slots=64, say=print).model_options["slots"] == 64


def test_a_checkpoint_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(NeuralPython, "find", Python)
    options = ModelOptions(model="native", checkpoint=tmp_path / "none")
    with pytest.raises(CommandError, match="no such directory"):
        find_hosting(options, slots=None, say=print)


def test_conditions_name_precision_options_and_weights() -> None:
    told = dict(_hosting(Python(gpus=("H200",)), bf16=True, slots=64).conditions())
    assert "bfloat16" in told["precision"]
    assert told["engine"] == "native, options: bf16=True, slots=64"
    assert "H200" in told["torch"]
    assert told["weights"] == "random"


# --- The official package ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "sides"), [((), "official native"), (("H200",), "official native native-bf16")]
)
def test_the_official_package_is_measured_by_the_benchmark(
    gpus: tuple[str, ...], sides: str
) -> None:
    python = Python('noise\n{"markdown": ["| |"]}\n', gpus=gpus)
    hosting = _hosting(python, slots=3, hops="growing")
    found = against.measure_against(hosting, "文", "中文女", [1, 4], check_tokens=True)
    assert found == {"markdown": ["| |"]}
    [[module, directory, *arguments]] = python.asked
    assert (module, directory) == ("models.benchmark", "/w")
    told = " ".join(arguments)
    assert f"--sides {sides} --streams 1 4" in told
    assert "--home /home" in told
    assert '--native-options {"hops":"growing"} --check-tokens' in told


# --- GPU ---------------------------------------------------------------------------------------

ANSWER = """NVIDIA H200, 570.86.15, 700.00, 412.50, 1815, 1980, 93, 81234, 61
NVIDIA H200, 570.86.15, 700.00, [N/A], 345, 1980, 0, 4, 30
"""


def test_nvidias_answer_is_read() -> None:
    first, second = gpu.parse(ANSWER)
    assert first.title == ("NVIDIA H200, driver 570.86.15, 1815 of 1980 MHz, 412 of 700 W, 61 °C")
    assert (first.utilisation, first.memory_mib) == (0.93, 81234)
    assert second.power_w is None
    assert gpu.parse("No devices were found\n") == []


def test_of_several_gpus_the_busiest_counts() -> None:
    used = gpu.use([gpu.parse(ANSWER)] * 3)
    assert used == gpu.GpuUse(utilisation=0.93, power_w=412.5, clock_mhz=1815.0, memory_mib=81234.0)
    assert gpu.use([]) is None


def test_without_the_tool_there_is_nothing_to_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asyncio.run(gpu.look()) == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{ANSWER.splitlines()[0]}'\n")
    tool.chmod(0o755)
    assert len(asyncio.run(gpu.look())) == 1


# --- What is held ------------------------------------------------------------------------------


def test_what_a_model_holds_is_read_by_its_name() -> None:
    scrape = Scrape.parse(
        '# TYPE held gauge\nheld{model="a",name="slots"} 2.0\nheld{model="b",name="slots"} 3.0\n'
        'held{model="a",name="pages_kept"} 7.0\nother{name="slots"} 9.0\n'
    )
    assert scrape.by_name("held") == {"slots": 5.0, "pages_kept": 7.0}
    assert scrape.samples["held"] == 12.0


def _looks(**values: list[float]) -> list[Look]:
    return [
        Look(float(at), {name.replace("_", " "): some[at] for name, some in values.items()})
        for at in range(len(next(iter(values.values()))))
    ]


def test_the_quarters_of_the_time_are_compared() -> None:
    looks = _looks(memory=[100.0, 102.0, 110.0, 120.0, 118.0, 112.0, 106.0, 108.0])
    found = soak_figures(looks, Look(9.0, {"memory": 104.0}))
    memory = found.things["memory"]
    assert memory.quarters == (101.0, 115.0, 115.0, 107.0)
    assert (memory.growth, memory.most, memory.end) == (6.0, 120.0, 104.0)
    row = "| memory | 101.0 | 115.0 | 115.0 | 107.0 | +6.0 | 120.0 | 104.0 |"
    assert row in list(soak.lines(found))
    assert found.left == {}


def test_what_is_held_for_nobody_is_a_leak_unless_it_is_kept_on_purpose() -> None:
    busy = Look(1.0, {"held: lm_slots": 4.0, "held: sessions": 4.0})
    end = Look(9.0, {"held: lm_slots": 1.0, "held: sessions": 0.0, "held: flow_pages_kept": 9.0})
    assert soak_figures([busy], end).left == {"lm_slots": 1}


# --- All of it ---------------------------------------------------------------------------------


def test_the_native_engine_with_one_command(
    cosystream: Cosystream, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSYSTREAM_COSYVOICE_INTERPRETER", str(interpreter()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "text").write_text("你好。")
    arguments = ["--model", "native", "--random", "tiny", "--text", "text", "--json", "r.json"]
    arguments += ["--capacity", "--most-streams", "2", "--step-seconds", "0.5"]
    # However slow the machine is where this is tested.
    arguments += ["--target-first-ms", "60000", "--prebuffer-ms", "1000"]
    outcome = cosystream("bench", *arguments, "--churn-seconds", "0.5")
    assert outcome.code == 0, outcome.err
    report = json.loads((tmp_path / "r.json").read_bytes())
    # 9 bytes of text, 2.5 tokens of 0.04 s for each.
    assert report["server"]["audio_per_session_s"]["max"] == pytest.approx(0.92)
    assert report["server"]["incidents"] == 0
    assert len(report["capacity"]["steps"]) >= 2
    held = report["churn"]["soak"]["things"]["held: lm_slots"]
    assert held["end"] == 0
    assert report["conditions"]["weights"].startswith("random, cosyvoice2-tiny")
    told = outcome.out.decode()
    assert "## Conditions" in told
    assert "| streams | loop | sessions |" in told
    assert "| held: sessions |" in told
    assert len(list(cache.iterdir())) == 1
