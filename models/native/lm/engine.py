"""Many sessions in one language model, one batch after the other.

There is no thread in here and no clock: who computes next is the caller's to choose, by the
sessions and their order that it gives to `tick`. Positions and random numbers' counters are kept on
the host, so a call that fails has changed nothing that is read again, and can be made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.cosyvoice.sampling import SamplingRule
from models.native.device.cuda import open_lane
from models.native.device.graphs import Graphs
from models.native.lm.errors import PromptTooLongError, SlotsExhaustedError
from models.native.lm.events import Ended, LmEvent, NotFinite, TokenDrawn, TooLong, WantsText
from models.native.lm.model import LmModel
from models.native.lm.sampling import NOT_FINITE, NOT_FORCED, RasSampler
from models.native.lm.sequence import LmLimits, LmPrompt, SequenceState, TextLayout, TokenSequence
from models.native.lm.session import LmSession
from models.native.lm.shapes import BatchShapes, at_least, at_most
from models.native.lm.step import Column, LmStep

_NO_LIMITS_GIVEN = LmLimits()


@dataclass(frozen=True, slots=True)
class _Call:
    sessions: Sequence[LmSession]
    inputs: Sequence[Sequence[int]]


class LmEngine:
    """Computes speech tokens of up to `n_slots` sessions.

    Args:
        model: the weights.
        n_slots: sessions at once.
        max_length: positions of one, prompt included.
        sampling: in place of the checkpoint's own rule, which changes what is said.
        shapes: that batches are padded to; by default few where they can be captured.
        graphs: of the lane in which it computes; by default a lane of its own.
    """

    def __init__(
        self,
        model: LmModel,
        *,
        n_slots: int,
        max_length: int,
        sampling: SamplingRule | None = None,
        shapes: BatchShapes | None = None,
        graphs: Graphs | None = None,
    ) -> None:
        self._model = model
        self.graphs = graphs or Graphs(open_lane(model.device, urgent=True))
        """Of the lane in which it computes."""
        self._max_length = max_length
        usual = BatchShapes.coarse if self.graphs.lane.can_capture else BatchShapes.fine
        self._shapes = shapes or usual(max_length)
        self._key_values = model.new_key_values(n_slots=n_slots, max_length=max_length)
        rule = sampling or model.spec.sampling
        sampler = RasSampler(model.spec.outputs, rule, model.device)
        self._step = LmStep(model, self._key_values, sampler)
        self._rows = np.zeros((n_slots + 1, len(Column) + rule.win_size), np.int64)
        self._rows[:, Column.FORCED] = NOT_FORCED
        self._rows[n_slots, Column.SLOT] = self._key_values.spare_slot
        self._free_slots = list(reversed(range(n_slots)))
        self._sessions: dict[int, LmSession] = {}

    @property
    def n_free_slots(self) -> int:
        """So many sessions can be opened."""
        return len(self._free_slots)

    def open(
        self,
        prompt: LmPrompt,
        *,
        seed: int,
        limits: LmLimits = _NO_LIMITS_GIVEN,
        layout: TextLayout = "auto",
    ) -> LmSession:
        """Begin a session; its text follows by `LmSession.append_text`.

        Args:
            prompt: what speech goes on from.
            seed: the same with the same text gives the same tokens, whoever computes beside.
            limits: of the speech.
            layout: how text and speech follow each other.

        Raises:
            SlotsExhaustedError: there is no slot.
            PromptTooLongError: a slot has no room for the prompt.
            ValueError: the model does not know an id of the prompt.
        """
        sequence = TokenSequence(self._model.spec, prompt, limits, layout)
        if sequence.n_prompt > self._max_length:
            raise PromptTooLongError(
                f"the prompt takes {sequence.n_prompt} of {self._max_length} positions"
            )
        if not self._free_slots:
            raise SlotsExhaustedError(f"all {len(self._sessions)} slots are taken")
        slot = self._free_slots.pop()
        session = LmSession(
            sequence, seed=seed, slot=slot, row=self._rows[slot], free=self._take_back
        )
        self._sessions[slot] = session
        return session

    def ready(self) -> list[LmSession]:
        """Sessions that could compute now."""
        return [session for session in self._sessions.values() if session.is_ready]

    def tick(self, sessions: Iterable[LmSession]) -> list[LmEvent]:
        """Let sessions go on, each by at most one token.

        What is long to read is read in pieces, of which one tick computes a bounded number beside
        the sessions that decode; those that it does not reach stay ready.

        Args:
            sessions: of this engine, the most urgent first. Those that are not ready are left out.

        Returns:
            What became of them, at most two events each, a token before what follows from it.
        """
        ends: list[LmEvent] = []
        waiting: list[tuple[LmSession, Sequence[int]]] = []
        for session in dict.fromkeys(sessions):
            if not session.is_ready:
                continue
            inputs = session.unread()
            if not inputs:
                ends.append(Ended(session))
            elif session.is_too_long or session.n_positions + len(inputs) > self._max_length:
                ends.append(TooLong(session))
            else:
                waiting.append((session, inputs))
        calls = list(self._calls(waiting))
        drawn = self._compute(calls)
        # From here on nothing fails.
        events = [self._end(event) for event in ends]
        for call, tokens in zip(calls, drawn, strict=True):
            for session, inputs, token in zip(call.sessions, call.inputs, tokens, strict=True):
                events += self._went_on(session, len(inputs), token)
        return events

    def _calls(self, waiting: Iterable[tuple[LmSession, Sequence[int]]]) -> Iterator[_Call]:
        """Rows of about the same length together; pieces of text as far as a tick goes."""
        shapes = self._shapes.inputs
        groups: dict[int, list[tuple[LmSession, Sequence[int]]]] = {}
        n_left = shapes[-1]
        for session, inputs in waiting:
            size = at_least(shapes, len(inputs))
            if size > 1:
                # A smaller piece is better than none: others might always come first.
                size = min(size, at_most(shapes, n_left))
                if size <= 1:
                    continue
                n_left -= size
            groups.setdefault(size, []).append((session, inputs[:size]))
        most_rows = self._shapes.rows[-1]
        for size in sorted(groups):
            group = groups[size]
            for begin in range(0, len(group), most_rows):
                rows = group[begin : begin + most_rows]
                yield _Call([session for session, _ in rows], [inputs for _, inputs in rows])

    def _compute(self, calls: Sequence[_Call]) -> list[list[int]]:
        """Tokens of the rows of each call. All calls are made before any result is waited for."""
        if not calls:
            return []
        lane = self.graphs.lane
        with torch.inference_mode(), lane.current():
            drawn = [self._draw(*self._batch(call)) for call in calls]
            tokens = lane.fetch(torch.cat(drawn)).take().tolist()
        results, begin = [], 0
        for call, padded in zip(calls, drawn, strict=True):
            results.append(tokens[begin : begin + len(call.sessions)])
            begin += len(padded)
        return results

    def _draw(self, batch: torch.Tensor, n_keys: int) -> torch.Tensor:
        """A step, (B,) tokens, of a batch on the host."""

        def step(batch: torch.Tensor) -> tuple[torch.Tensor]:
            return (self._step(batch, n_keys),)

        sent = self.graphs.lane.send(batch)
        (drawn,) = self.graphs.run("lm", n_keys, step, (sent,))
        return drawn

    def rehearse(self) -> None:
        """Compute a step of each common shape, of nobody."""
        n_sessions, n_columns = len(self._rows) - 1, self._rows.shape[1]
        with torch.inference_mode(), self.graphs.lane.current():
            for n_rows, n_inputs, n_keys in self._shapes.common(n_sessions):
                batch = np.zeros((n_rows, n_columns + n_inputs), np.int64)
                batch[:, :n_columns] = self._rows[n_sessions]
                self._draw(torch.from_numpy(batch), n_keys)

    def _batch(self, call: _Call) -> tuple[torch.Tensor, int]:
        n_sessions = len(call.sessions)
        n_rows = at_least(self._shapes.rows, n_sessions)
        n_inputs = at_least(self._shapes.inputs, max(map(len, call.inputs)))
        n_columns = self._rows.shape[1]
        batch: npt.NDArray[np.int64] = np.zeros((n_rows, n_columns + n_inputs), np.int64)
        slots = [self._key_values.spare_slot] * n_rows
        n_positions = 0
        for row, (session, inputs) in enumerate(zip(call.sessions, call.inputs, strict=True)):
            session.prepare(len(inputs))
            slots[row] = session.slot
            batch[row, n_columns : n_columns + len(inputs)] = inputs
            n_positions = max(n_positions, session.n_positions + len(inputs))
        batch[:, :n_columns] = self._rows[slots]
        n_keys = at_least(self._shapes.keys, n_positions)
        return torch.from_numpy(batch), n_keys

    def _went_on(self, session: LmSession, n_inputs: int, token: int) -> Iterator[LmEvent]:
        if token == NOT_FINITE:
            with self.graphs.lane.current():
                self._key_values.clear(session.slot)
            yield self._end(NotFinite(session))
            return
        if not session.has_read(n_inputs):
            return
        session.accept(token)
        if session.state is SequenceState.DONE:
            yield self._end(Ended(session))
        elif session.state is SequenceState.FILL_WAIT:
            if not session.is_ready:
                yield WantsText(session)
        else:
            yield TokenDrawn(session, token)
            if session.is_too_long:
                yield self._end(TooLong(session))

    def _end(self, event: LmEvent) -> LmEvent:
        event.session.close()
        return event

    def _take_back(self, session: LmSession) -> None:
        del self._sessions[session.slot]
        self._free_slots.append(session.slot)
