"""The order in which a language model reads a text and says its speech.

A text that is there is read whole, and speech follows. Text that still comes takes turns with
speech, by default 5 tokens and 15, as upstream's `inference_bistream` has them: first the prompt's,
then the stream's. After each turn of speech the model asks for text, and is made to where it does
not. When the text has ended, its rest is read at once, and speech goes on to its end.

    WAIT_TEXT -> PROMPT_MIX -> DECODE -> FILL_WAIT -> DECODE -> ... -> FINAL -> DONE
    WAIT_TEXT -> FINAL -> DONE                                           the text is whole

Nothing here computes. What is read next is told by `next_input`, how the token after it is to be
drawn by `draw`, and what was drawn is given to `accept`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, NamedTuple, TypeAlias

from models.cosyvoice.prompts import END_OF_PROMPT_ID
from models.native.lm.sampling import NOT_FORCED, Choice
from models.native.lm.spec import LmSpec

TextLayout: TypeAlias = Literal["whole", "streamed", "auto"]
"""`whole` waits for the text's end. `streamed` takes turns, unless the text ends before its first
turn is complete. `auto` is whole if the text has ended when the session is first computed."""


class SequenceState(Enum):
    """What a sequence is at."""

    WAIT_TEXT = auto()
    """Too little text has come to begin."""
    PROMPT_MIX = auto()
    """It has begun, and nothing has been drawn."""
    DECODE = auto()
    """Speech, until it asks for text."""
    FILL_WAIT = auto()
    """It has asked for text, and too little has come."""
    FINAL = auto()
    """All text is there; speech, until its end."""
    DONE = auto()


class Draw(NamedTuple):
    """How a token is to be drawn."""

    choice: Choice
    forced: int = NOT_FORCED


@dataclass(frozen=True, slots=True, kw_only=True)
class LmPrompt:
    """What speech goes on from."""

    text: Sequence[int] = ()
    """Ids of transcript or instruction. Version 3 needs `<|endofprompt|>` in it."""
    speech: Sequence[int] = ()
    """Speech tokens of the recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LmLimits:
    """Bounds of speech, in speech tokens per token of text without the prompt's."""

    shortest: float = 2.0
    """Where the text is whole, speech does not end before. Upstream's number."""
    longest: float = 20.0
    """Speech that has missed its end is ended. Upstream's number, for streamed text as well, which
    upstream does not bound."""


class TokenSequence:
    """One text and its speech.

    Args:
        spec: the model.
        prompt: what stands before.
        limits: of the speech.
        layout: of the text.

    Raises:
        ValueError: an id of the prompt is unknown to the model, or version 3 has no
            `<|endofprompt|>`.
    """

    def __init__(
        self, spec: LmSpec, prompt: LmPrompt, limits: LmLimits, layout: TextLayout
    ) -> None:
        self._spec = spec
        self._limits = limits
        self._layout = layout
        self._prompt_text = list(prompt.text)
        self._check_text(self._prompt_text)
        if not all(0 <= token < spec.outputs.n_speech for token in prompt.speech):
            raise ValueError("the prompt has speech tokens that the model does not know")
        self._prompt_speech = list(map(spec.inputs.speech, prompt.speech))
        self._n_instruction = self._instruction_length()
        self._text: deque[int] = deque()
        """Has come, and not been looked at."""
        self._cache: list[int] = []
        """Looked at, and in no turn yet."""
        self._n_text = 0
        self._text_ended = False
        self._input: list[int] = []
        """What is read next, or was last."""
        self._is_read = True
        self._n_drawn = 0
        self._n_speech = 0
        self._next_fill = self._first_fill()
        self._n_shortest = 0
        self.state = SequenceState.WAIT_TEXT

    def append_text(self, ids: Iterable[int]) -> None:
        """Take (more) text.

        Raises:
            ValueError: its end has been told before, or an id is unknown to the model.
        """
        ids = list(ids)
        self._check_text(ids)
        if self._text_ended:
            raise ValueError("the text has ended")
        self._text += ids
        self._n_text += len(ids)

    def end_text(self) -> None:
        """No more text comes."""
        self._text_ended = True

    @property
    def n_first(self) -> int:
        """So many tokens of text have to be there before streamed text begins."""
        n_turns = max(1, -(-len(self._prompt_speech) // self._spec.mix.speech))
        n_prompt_text = len(self._prompt_text) - self._n_instruction
        return max(1, n_turns * self._spec.mix.text - n_prompt_text)

    @property
    def n_prompt(self) -> int:
        """Positions that the prompt takes."""
        return len(self._prompt_text) + len(self._prompt_speech) + 2

    @property
    def can_go_on(self) -> bool:
        """There is something to read, or the end to tell."""
        match self.state:
            case SequenceState.WAIT_TEXT:
                return self._text_ended or (
                    self._layout != "whole" and self._n_text >= self.n_first
                )
            case SequenceState.FILL_WAIT:
                return self._text_ended or len(self._cache) + len(self._text) >= max(
                    self._spec.mix.text, len(self._cache) + 1
                )
            case _:
                return True

    @property
    def n_drawn(self) -> int:
        """Tokens so far, with those that asked for text."""
        return self._n_drawn

    @property
    def draw(self) -> Draw:
        """How the token after what was read is to be drawn."""
        if self.state is SequenceState.FINAL:
            early = self._n_speech < self._n_shortest
            return Draw(Choice.SPEECH if early else Choice.ANY)
        fill = self._spec.outputs.fill
        if fill is not None and self._n_drawn == self._next_fill:
            return Draw(Choice.SPEECH_OR_FILL, fill)
        return Draw(Choice.SPEECH_OR_FILL)

    def next_input(self) -> Sequence[int]:
        """What is to be read next; the same until `accept`. Nothing, if it cannot go on."""
        if self._is_read and self.can_go_on:
            if self.state is SequenceState.WAIT_TEXT:
                self._begin()
            if self.state in (SequenceState.PROMPT_MIX, SequenceState.FILL_WAIT):
                self._take_turn()
        return () if self._is_read else self._input

    def accept(self, token: int) -> None:
        """Take what was drawn after the input was read; the state tells what it means."""
        self._is_read = True
        n_drawn, self._n_drawn = self._n_drawn, self._n_drawn + 1
        if token < self._spec.outputs.n_speech:
            self._n_speech += 1
            self._read_next([self._spec.inputs.speech(token)])
        elif self.state is SequenceState.DECODE:
            # The token itself is not read; text follows the speech.
            self._next_fill = n_drawn + self._spec.mix.speech + 1
            self.state = SequenceState.FILL_WAIT
        else:
            self.state = SequenceState.DONE

    def stop(self) -> None:
        """Nothing follows."""
        self._is_read = True
        self.state = SequenceState.DONE

    @property
    def is_too_long(self) -> bool:
        """As much has been said as the text may take, and the end has not come."""
        n_longest = int(self._n_text * self._limits.longest)
        return self.state is SequenceState.FINAL and self._n_speech >= n_longest

    def _begin(self) -> None:
        begin = self._spec.inputs.begin
        is_whole = self._text_ended and (self._layout != "streamed" or self._n_text < self.n_first)
        if not is_whole:
            self._input = [begin, *self._prompt_text[: self._n_instruction]]
            self._cache = self._prompt_text[self._n_instruction :]
            self.state = SequenceState.PROMPT_MIX
            return
        if not self._n_text:
            self.stop()
            return
        text = [*self._prompt_text, *self._text]
        self._text.clear()
        self._n_shortest = int(self._n_text * self._limits.shortest)
        self.state = SequenceState.FINAL
        self._read_next([begin, *text, self._spec.inputs.task, *self._prompt_speech])

    def _take_turn(self) -> None:
        """Look at one token of text after the other, as upstream does: each leads to one turn."""
        mix = self._spec.mix
        while self._text:
            self._cache.append(self._text.popleft())
            while self._prompt_speech and len(self._cache) >= mix.text:
                self._input += self._turn_text() + self._prompt_speech[: mix.speech]
                del self._prompt_speech[: mix.speech]
            if self._prompt_speech:
                continue
            if self._needs_text:
                if len(self._cache) < mix.text:
                    continue
                if self.state is SequenceState.FILL_WAIT:
                    self._input = []
                self._input += self._turn_text()
            self.state = SequenceState.DECODE
            self._read_next(self._input)
            return
        if self._text_ended:
            # With what was read last, if anything was: upstream reads it twice.
            self.state = SequenceState.FINAL
            self._read_next([*self._input, *self._cache, self._spec.inputs.task])

    @property
    def _needs_text(self) -> bool:
        """No speech follows without another turn of text. Behind an instruction it might upstream,
        where the first fill comes at once.
        """  # noqa: D205
        return self.state is SequenceState.FILL_WAIT or len(self._input) == 1

    def _turn_text(self) -> list[int]:
        text = self._cache[: self._spec.mix.text]
        del self._cache[: self._spec.mix.text]
        return text

    def _read_next(self, ids: list[int]) -> None:
        self._input = ids
        self._is_read = False

    def _instruction_length(self) -> int:
        """Of what version 3 reads before any turns, `<|endofprompt|>` included."""
        if self._spec.version == 2:  # noqa: PLR2004
            return 0
        if END_OF_PROMPT_ID not in self._prompt_text:
            raise ValueError("version 3 needs <|endofprompt|> in the prompt")
        return self._prompt_text.index(END_OF_PROMPT_ID) + 1

    def _first_fill(self) -> int:
        """After so many speech tokens the model has to ask for text first."""
        n_turn, n_speech = self._spec.mix.speech, len(self._prompt_speech)
        if self._n_instruction and not n_speech:
            # Upstream would decode the first turn's speech before its text.
            return 0
        return n_turn - n_speech % n_turn

    def _check_text(self, ids: Sequence[int]) -> None:
        if not all(0 <= token < self._spec.body.n_text for token in ids):
            raise ValueError("the text has tokens that the model does not know")
