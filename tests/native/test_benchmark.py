"""The benchmark of runtimes: every side, its tables, and tokens alone and in a batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
import torch

from models.benchmark.report import Comparison, figures, table
from models.benchmark.sides import Task, open_side
from models.benchmark.tokens import IN_A_BATCH, check_tokens
from models.benchmark.trial import AtOnce, Facts, Spoken, Trial, run_trial
from models.cosyvoice.runtime import Official
from models.native.lm.sampling import RasSampler

ROOT = Path(__file__).parent.parent.parent
VOICE = "中文女"
TEXT = "你好。"
LONGER = "今天天气很好，我们去公园。"
"""Random weights of version 3 speak the prompt's text as well; of a short text that is too much."""
FACTS = Facts(torch="2", device="cpu", threads=1, precision="float32")


def _task(checkpoint: Path, **changes: object) -> Task:
    home = os.environ.get("COSYSTREAM_COSYVOICE_HOME", "")
    options = {"text": TEXT, "voice": VOICE, "home": home, "device": "cpu", "slots": 2, **changes}
    return Task(directory=str(checkpoint), **options)


@pytest.mark.parametrize("side", ["native", "native-bf16"])
def test_the_native_engine_is_measured(checkpoint: Path, side: str) -> None:
    trial = run_trial(lambda: open_side(side, _task(checkpoint)), requests=1, streams=[2])
    lengths = {spoken.audio_s for spoken in (*trial.one_by_one, *trial.at_once[2].spoken)}
    assert len(lengths) == 1
    assert trial.at_once[2].audio_s == pytest.approx(2 * lengths.pop())
    assert trial.warm_up_s is not None
    assert ("bfloat16" in trial.facts.precision) is (side == "native-bf16")


def test_the_official_package_says_as_much(
    checkpoint: Path, load_reference: Callable[[Path], Official]
) -> None:
    """Both tell the same text of the same length, so that their times can be compared."""
    assert load_reference  # skips where there is no package
    spoken = [
        run_trial(
            lambda side=side: open_side(side, _task(checkpoint, text=LONGER)), 1, []
        ).one_by_one[0]
        for side in ("official", "ours", "native")
    ]
    assert spoken[0].audio_s == spoken[1].audio_s == spoken[2].audio_s > 0.5


def test_tokens_do_not_depend_on_the_batch(checkpoint: Path) -> None:
    check = check_tokens(_task(checkpoint))
    assert (check.sessions, check.identical) == (IN_A_BATCH, IN_A_BATCH)
    assert check.same_tokens == check.tokens > IN_A_BATCH
    assert 0 <= check.redraw_share < 0.2


def test_a_batch_that_changes_tokens_is_found(checkpoint: Path) -> None:
    draw = RasSampler.draw

    def spoiled(self: RasSampler, logits: torch.Tensor, **others: torch.Tensor) -> torch.Tensor:
        return draw(self, logits.roll(len(logits) - 1, dims=1), **others)

    with mock.patch.object(RasSampler, "draw", spoiled):
        check = check_tokens(_task(checkpoint))
    assert check.identical == 0
    assert check.same_tokens < check.tokens / 2


def test_second_draws_are_counted(checkpoint: Path) -> None:
    """With a rule that never allows a token that was among the last, all others are redrawn."""
    draw = RasSampler.draw

    def repeated(self: RasSampler, logits: torch.Tensor, **others: torch.Tensor) -> torch.Tensor:
        # The first draw is always token 7; what it repeats itself by is the rule's to mend.
        certain = torch.full_like(logits, -30.0)
        certain[:, 7] = 30.0
        return draw(self, certain, **others)

    with mock.patch.object(RasSampler, "draw", repeated):
        check = check_tokens(_task(checkpoint))
    assert check.redraw_share > 0.9


# --- Figures -----------------------------------------------------------------------------------


def _spoken(first_s: float) -> Spoken:
    return Spoken(first_chunk_s=first_s, wall_s=4.0, audio_s=5.0, first_audio_s=1.0)


def _trial(first_s: float, wall_s: dict[int, float]) -> Trial:
    return Trial(
        load_s=1.0,
        warm_up_s=None,
        one_by_one=[_spoken(9.0), _spoken(9.0), _spoken(first_s)],
        at_once={
            number: AtOnce(wall_s=wall, spoken=[_spoken(first_s + i) for i in range(number)])
            for number, wall in wall_s.items()
        },
        facts=FACTS,
    )


TRIALS = {
    "official": _trial(3.0, {1: 4.0, 4: 12.0}),
    "native": _trial(1.0, {1: 3.0, 4: 6.0}),
    "native-bf16": _trial(2.0, {1: 3.0, 4: 8.0}),
}


def test_figures_against_the_official_package_and_against_one_stream() -> None:
    found = {(figure.side, figure.name.partition(":")[0]): figure for figure in figures(TRIALS)}
    first = found["native", "first chunk from request 3 on"]
    assert (first.value, first.wanted, first.held) == (pytest.approx(3.0), 2.0, True)
    assert found["native-bf16", "first chunk from request 3 on"].held is False
    assert found["native", "4 at once"].value == pytest.approx(2.0)
    assert found["native", "4 at once"].held is True
    assert found["native-bf16", "4 at once"].value == pytest.approx(1.5)
    assert found["native-bf16", "4 at once"].held is False
    assert found["native", "1 at once"].held is None
    assert found["native", "4 streams at once"].value == pytest.approx(2.0)


def test_without_the_official_package_there_are_still_figures() -> None:
    found = figures({"native": TRIALS["native"]})
    assert [figure.value for figure in found] == [pytest.approx(2.0)]


def test_the_table_has_a_column_for_each_side() -> None:
    comparison = Comparison(text="a", trials=TRIALS, figures=figures(TRIALS))
    lines = list(table(comparison))
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert rows["request 3: first chunk (its audio)"].count(" s (1.00 s) ") == 3
    assert rows["4 at once: first chunk, latest"].split("|")[2].strip() == "6.000 s (1.00 s)"
    assert rows["4 at once: wall per audio"].split("|")[2:4] == [" 0.600 ", " 0.300 "]
    assert rows["speech of a request"].split("|")[2].strip() == "5.00 s"
    assert sum("missed" in line for line in lines) == 2


@pytest.mark.parametrize("version", [2], indirect=True)
def test_the_command_measures_each_side_in_its_own_process(checkpoint: Path) -> None:
    options = ["--text", TEXT, "--requests", "1", "--streams", "1", "2", "--check-tokens"]
    command = [sys.executable, "-P", "-m", "models.benchmark", checkpoint, "--sides", "native"]
    done = subprocess.run(
        [*command, *options, "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["trials"]["native"]["at_once"].keys() == {"1", "2"}
    assert found["tokens"]["identical"] == IN_A_BATCH
    assert found["markdown"][0] == "| | native engine |"
