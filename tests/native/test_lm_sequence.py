"""In which order text and speech are read: upstream's turns, without their defects."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_cases import prompt, text

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.prompts import END_OF_PROMPT_ID
from models.native.configuration import read_configuration
from models.native.lm.sampling import NOT_FORCED, Choice
from models.native.lm.sequence import (
    LmLimits,
    LmPrompt,
    SequenceState,
    TextLayout,
    TokenSequence,
)
from models.native.lm.spec import LmSpec, read_spec
from models.native.weights import read_tensors

SPEECH = 100
"""What the stand-in for a model says, unless it is made to ask for text."""


@pytest.fixture(scope="module")
def spec(checkpoint: Path) -> LmSpec:
    opened = Checkpoint.open(checkpoint)
    return read_spec(
        opened, read_configuration(opened.yaml_path), read_tensors(checkpoint / "llm.pt")
    )


class Reader:
    """A sequence, and what it has read: a letter per position, t, s, b (begin) or | (task)."""

    def __init__(
        self,
        spec: LmSpec,
        prompt: LmPrompt,
        layout: TextLayout = "streamed",
        limits: LmLimits | None = None,
    ) -> None:
        self._spec = spec
        self.sequence = TokenSequence(spec, prompt, limits or LmLimits(), layout)
        self.read: list[str] = []
        self.n_speech = 0

    def letters(self, ids: list[int]) -> str:
        inputs = self._spec.inputs
        special = {inputs.begin: "b", inputs.task: "|"}
        return "".join(special.get(i, "t" if i < inputs.n_text else "s") for i in ids)

    def step(self, token: int = SPEECH) -> bool:
        """Read and draw once; a token that is forced is taken instead of the given one."""
        inputs = self.sequence.next_input()
        if not inputs:
            return False
        self.read.append(self.letters(list(inputs)))
        draw = self.sequence.draw
        token = token if draw.forced == NOT_FORCED else draw.forced
        self.n_speech += token < self._spec.outputs.n_speech
        self.sequence.accept(token)
        return True

    def speak(self, most: int = 10**6) -> int:
        """Go on until text is wanted; tokens so far."""
        while self.n_speech < most and not self.sequence.is_too_long and self.step():
            pass
        return self.n_speech


def control(spec: LmSpec, *control_ids: int) -> list[int]:
    return [spec.outputs.n_speech + number for number in control_ids]


@pytest.mark.parametrize(
    ("n_speech", "n_text", "demands"),
    [
        (0, 0, (5, 5, 10)),
        (75, 25, (1, 1, 5)),
        (75, 15, (10, 10, 15)),
        (87, 14, (16, 21, 26)),
        (125, 25, (20, 25, 30)),
        (250, 50, (35, 40, 45)),
    ],
)
def test_how_much_text_speech_needs(
    spec: LmSpec, version: int, n_speech: int, n_text: int, demands: tuple[int, ...]
) -> None:
    """The table of engine.md, 1.3, which was measured with upstream's code: text that has to be
    there before the first speech token, before 13 and before 28.
    """
    found = []
    for n_wanted in (1, 13, 28):
        reader = Reader(spec, prompt(version, n_text, n_speech))
        n_given = 0
        while reader.speak(n_wanted) < n_wanted:
            reader.sequence.append_text(text(1, n_given))
            n_given += 1
        found.append(n_given)
    assert tuple(found) == demands


def test_turns(spec: LmSpec, version: int) -> None:
    """Upstream has version 3 say 15 tokens of nothing first, where no speech is in the prompt."""
    reader = Reader(spec, prompt(version))
    begin = "b" + "t" * (0 if version == 2 else 4)
    reader.sequence.append_text(text(12))
    assert reader.speak() == 30
    first = [begin + "ttttt"] if version == 2 else [begin, "ttttt"]  # the same, in two pieces
    assert reader.read == [*first, *"s" * 15, "ttttt", *"s" * 15]
    assert reader.sequence.state is SequenceState.FILL_WAIT
    reader.sequence.end_text()
    reader.step()
    assert reader.read[-1] == "stt|"  # upstream reads the last speech token twice
    assert reader.sequence.state is SequenceState.FINAL
    reader.step(spec.outputs.end)
    assert reader.sequence.state is SequenceState.DONE
    assert not reader.sequence.next_input()


def test_the_prompt_s_turns(spec: LmSpec, version: int) -> None:
    reader = Reader(spec, prompt(version, 7, 40))
    begin = "b" + "t" * (0 if version == 2 else 4)
    reader.sequence.append_text(text(8))
    assert reader.speak() == 5  # what is missing of the third turn
    mixed = ("t" * 5 + "s" * 15) * 2 + "t" * 5 + "s" * 10
    assert reader.read == [begin + mixed, *"s" * 5]


def test_fill_may_come_early(spec: LmSpec, version: int) -> None:
    reader = Reader(spec, prompt(version, 7, 40))
    reader.sequence.append_text(text(13))
    reader.step()
    reader.step(spec.outputs.fill)
    assert reader.speak() == 1 + 15
    assert reader.read[2] == "ttttt"


def test_fill_is_the_only_control_token_between_text(spec: LmSpec, version: int) -> None:
    reader = Reader(spec, prompt(version, 5, 15))
    reader.sequence.append_text(text(1))
    reader.sequence.next_input()
    assert reader.sequence.draw == (Choice.SPEECH_OR_FILL, NOT_FORCED)
    reader.speak()
    reader.sequence.end_text()
    reader.sequence.next_input()
    assert reader.sequence.draw == (Choice.ANY, NOT_FORCED)


@pytest.mark.parametrize("layout", ["streamed", "auto", "whole"])
def test_a_short_text_keeps_the_whole_recording(
    spec: LmSpec, version: int, layout: TextLayout
) -> None:
    """Upstream drops what the text did not reach of it, and says the rest of the transcript."""
    reader = Reader(spec, prompt(version, 14, 87), layout)
    reader.sequence.append_text(text(15))
    assert not reader.step()
    reader.sequence.end_text()
    assert reader.step()
    n_text = 14 + 15 + (0 if version == 2 else 4)
    assert reader.read == ["b" + "t" * n_text + "|" + "s" * 87]


@pytest.mark.parametrize(
    ("layout", "ended", "whole"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("streamed", True, False),
        ("whole", True, True),
        ("whole", False, None),
    ],
)
def test_layouts(
    spec: LmSpec, version: int, layout: TextLayout, ended: bool, whole: bool | None
) -> None:
    reader = Reader(spec, prompt(version), layout)
    reader.sequence.append_text(text(9))
    if ended:
        reader.sequence.end_text()
    assert reader.step() == (whole is not None)
    if whole is not None:
        assert reader.read[0].endswith("|") == whole


def test_the_end_is_held_back_by_the_length_of_the_text(spec: LmSpec, version: int) -> None:
    reader = Reader(spec, prompt(version, 6), "whole", LmLimits(shortest=2, longest=4))
    reader.sequence.append_text(text(3))
    reader.sequence.end_text()
    choices = []
    while not reader.sequence.is_too_long:
        reader.sequence.next_input()
        choices.append(reader.sequence.draw.choice)
        reader.step()
    assert choices == [Choice.SPEECH] * 6 + [Choice.ANY] * 6


def test_streamed_speech_is_bounded(spec: LmSpec, version: int) -> None:
    """Upstream's has no bound."""
    reader = Reader(spec, prompt(version), limits=LmLimits(longest=5))
    reader.sequence.append_text(text(12))
    reader.sequence.end_text()
    assert reader.speak() == 60


@pytest.mark.parametrize("layout", ["streamed", "auto", "whole"])
def test_no_text_is_no_speech(spec: LmSpec, version: int, layout: TextLayout) -> None:
    reader = Reader(spec, prompt(version, 5, 15), layout)
    assert not reader.sequence.can_go_on
    reader.sequence.end_text()
    assert reader.sequence.can_go_on
    assert not reader.step()
    assert reader.sequence.state is SequenceState.DONE


@pytest.mark.parametrize("number", range(3))
def test_any_control_token_ends_speech(spec: LmSpec, version: int, number: int) -> None:
    (token,) = control(spec, number if version == 2 else (1, 0, 199)[number])
    reader = Reader(spec, prompt(version), "whole")
    reader.sequence.append_text(text(1))
    reader.sequence.end_text()
    assert reader.step(token)
    assert reader.sequence.state is SequenceState.DONE


def test_unknown_ids_are_refused(spec: LmSpec, version: int) -> None:
    good = prompt(version)
    for bad in (
        LmPrompt(text=[*good.text, spec.body.n_text]),
        LmPrompt(text=[*good.text, -1]),
        LmPrompt(text=good.text, speech=[spec.outputs.n_speech]),
    ):
        with pytest.raises(ValueError, match="does not know"):
            TokenSequence(spec, bad, LmLimits(), "auto")
    sequence = TokenSequence(spec, good, LmLimits(), "auto")
    with pytest.raises(ValueError, match="does not know"):
        sequence.append_text([spec.body.n_text])
    sequence.end_text()
    with pytest.raises(ValueError, match="has ended"):
        sequence.append_text([1])


def test_version_3_needs_its_mark(spec: LmSpec, version: int) -> None:
    if version == 3:
        with pytest.raises(ValueError, match="endofprompt"):
            TokenSequence(spec, LmPrompt(text=[1]), LmLimits(), "auto")
    else:
        assert spec.body.n_text <= END_OF_PROMPT_ID


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_turns_do_not_depend_on_pieces(data: st.DataObject, spec: LmSpec, version: int) -> None:
    n_text = data.draw(st.integers(0, 60))
    n_speech = data.draw(st.integers(0, 80))
    n_prompt_text = data.draw(st.integers(0, 30))
    fills = data.draw(st.sets(st.integers(0, 100), max_size=5))
    cuts = sorted(data.draw(st.lists(st.integers(0, n_text), max_size=8)))
    given_prompt = prompt(version, n_prompt_text, n_speech)

    def read(pieces: list[list[int]]) -> list[str]:
        reader = Reader(spec, given_prompt, limits=LmLimits(longest=6))

        def speak() -> None:
            while not reader.sequence.is_too_long and reader.step(
                spec.outputs.fill if reader.sequence.n_drawn in fills else SPEECH
            ):
                pass

        for piece in pieces:
            reader.sequence.append_text(piece)
            speak()
        reader.sequence.end_text()
        speak()
        return reader.read

    ids = text(n_text)
    bounds = [0, *cuts, n_text]
    pieces = [ids[begin:end] for begin, end in pairwise(bounds)]
    assert read(pieces) == read([ids])
