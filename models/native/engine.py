"""One thread that computes the speech of many sessions.

Nobody else touches the device. Sessions are told to it by an inbox and read from handles; between
two steps it obeys what has come, asks the scheduler what is next, begins a batch of chunks if none
is under way, and computes one step of the language model. The tokens of a step are all that it
waits for: chunks are delivered when they have landed.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import torch

from models.base import ModelError, Samples
from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.guards import BadSegmentError
from models.native.capturing import Captured, capture
from models.native.costs import MeasuredCosts
from models.native.faults import Bisection
from models.native.handle import SessionHandle
from models.native.inbox import (
    AppendText,
    Begin,
    Cancel,
    EndText,
    Inbox,
    Order,
    Prepare,
    VoicePrompt,
)
from models.native.lm.errors import PromptTooLongError
from models.native.lm.events import Ended, LmEvent, NotFinite, TokenDrawn, TooLong
from models.native.lm.sequence import LmLimits, TextLayout
from models.native.options import Hops
from models.native.scheduler.capacity import sessions_held
from models.native.scheduler.planning import plan
from models.native.scheduler.views import GRID_TOKENS, Chunk, Policy, SessionId
from models.native.session import Session
from models.native.sounding import ChunkRow, Flight, Sounder, batches
from models.native.stages import Stages

LIMITS = LmLimits(longest=200.0)
"""Never reached before `TokenGuard` ends the speech, which it does with a reason."""


class Engine:
    """Owns a device, by a thread that `close` ends.

    Args:
        stages: what it computes with.
        policy: of the scheduler.
        hops: see `Hops`.
        on_broken: called on the engine's thread with what has ended it, unless it was `close`.
            When it returns, all sessions fail.
        clock: in seconds.

    Raises:
        CheckpointError: the checkpoint's chunks are not those that the scheduler counts in.
    """

    def __init__(
        self,
        stages: Stages,
        *,
        policy: Policy | None = None,
        hops: Hops = "slack",
        on_broken: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        spec = stages.flow.spec
        if spec.chunk_tokens != GRID_TOKENS:
            raise CheckpointError(
                f"the flow's chunks have {spec.chunk_tokens} tokens, and only {GRID_TOKENS} are "
                "known here"
            )
        self._stages = stages
        self._n_slots = stages.lm.n_free_slots
        self._policy = replace(policy or Policy(), lookahead_tokens=spec.lookahead_tokens)
        self._hops = hops
        self._on_broken = on_broken
        self._clock = clock
        self._costs = MeasuredCosts(overlap=stages.device.type == "cuda")
        self._bisection = Bisection(stages.device)
        self._inbox = Inbox()
        self._sounder = Sounder(stages.flow, stages.vocoder, stages.graphs.lane, self._inbox.wake)
        self._sessions: dict[SessionId, Session] = {}
        self._by_handle: dict[SessionHandle, Session] = {}
        self._waiting: deque[Session] = deque()
        """For a slot of the language model."""
        self._n_begun = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # --- Any thread ------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """That it owns."""
        return self._stages.device

    @property
    def n_sessions(self) -> int:
        """That have begun and not ended."""
        return len(self._sessions)

    @property
    def n_missed_flows(self) -> int:
        """Batches of chunks whose shape has not been captured, so decoding had to wait for them."""
        graphs = self._stages.graphs
        return graphs.n_missed("flow") + graphs.n_missed("kept flow")

    @property
    def n_stream_pages(self) -> int:
        """Of the flow, besides those that it keeps for voices."""
        flow = self._stages.flow
        return max(0, flow.n_pages - flow.n_free_pages - flow.n_prompt_pages)

    @property
    def n_prompt_pages(self) -> int:
        """Of the flow, that it keeps for voices."""
        return self._stages.flow.n_prompt_pages

    @property
    def n_evicted_pages(self) -> int:
        """Pages of sessions that had to make room for others', and are computed again."""
        return self._stages.flow.n_evicted

    @property
    def n_taken_slots(self) -> int:
        """Of the language model."""
        return self._n_slots - self._stages.lm.n_free_slots

    def sessions_held(self, most: int) -> int:
        """How many sessions the device computes in real time, by what it has taken lately.

        Args:
            most: to try.
        """
        return sessions_held(self._costs.costs, self._policy, most, self._costs.n_before)

    def submit(
        self,
        prompt: VoicePrompt,
        *,
        seed: np.random.SeedSequence,
        layout: TextLayout,
        tenant: str = "",
    ) -> SessionHandle:
        """Begin to speak; the text follows by the handle.

        Args:
            prompt: the voice.
            seed: the same gives the same speech tokens, whoever is spoken for beside.
            layout: how text and speech follow each other.
            tenant: whose it is; tenants take turns.

        Raises:
            ModelError: `failed`, the engine has ended.
        """
        handle = SessionHandle(self._inbox)
        self._inbox.put(
            Begin(handle=handle, prompt=prompt, seed=seed, layout=layout, tenant=tenant)
        )
        return handle

    def prepare(self) -> Captured:
        """Capture what is computed all the time; before anybody speaks, since it takes long.

        Raises:
            ModelError: `failed`, the engine has ended.
        """
        order = Prepare(Future())
        self._inbox.put(order)
        return order.done.result()

    def close(self) -> None:
        """End the thread at its next step. Sessions that have not ended fail."""
        self._inbox.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # --- The engine's thread ---------------------------------------------------------------

    def _run(self) -> None:
        try:
            timeout_s: float | None = None
            while (orders := self._inbox.take(timeout_s)) is not None:
                self._obey(orders)
                timeout_s = self._turn()
        except BaseException as error:  # noqa: BLE001 - streams must not wait for a dead thread
            self._inbox.close()
            self._on_broken(error)
        for session in list(self._sessions.values()):
            self._end(session, ModelError("failed", "the model has ended"))
        self._sounder.close()

    def _turn(self) -> float | None:
        """Compute what is next.

        Returns:
            How long there will be nothing to do unless something happens; None for ever.
        """
        self._land()
        now_s = self._clock()
        views = [session.view(now_s, self._policy) for session in self._sessions.values()]
        found = plan(now_s, views, self._costs.costs, self._policy)
        for key, pause in found.pauses.items():
            self._sessions[key].pause = pause
        # Chunks first: their tokens are there, and the step is not for them.
        rows = [] if self._sounder.is_busy else list(self._rows(found.chunks))
        self._sound(rows)
        if rows:
            # Between a batch and a step somebody may have been cancelled.
            self._obey(self._inbox.take(0) or ())
        step = [self._sessions[key] for key in found.step if key in self._sessions]
        if step:
            self._tick(step)
        if step or rows:
            return 0.0
        if found.wake_s is None or all(pause.audio for pause in found.pauses.values()):
            return None  # who stands still is woken by its consumer
        return max(0.0, found.wake_s - now_s)

    def _obey(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if isinstance(order, Begin):
                self._begin(order)
                continue
            if isinstance(order, Prepare):
                self._prepare(order)
                continue
            session = self._by_handle.get(order.handle)
            if session is None:
                continue  # it has ended meanwhile
            match order:
                case Cancel():
                    self._end(session)
                case EndText(error=None):
                    session.end_text()
                case EndText(error=error):
                    self._end(session, error)
                case AppendText():
                    self._append(session, order)
        self._hand_out_slots()

    def _prepare(self, order: Prepare) -> None:
        try:
            stages = self._stages
            order.done.set_result(capture(stages.lm, stages.flow, stages.vocoder, stages.graphs))
        except Exception as error:  # noqa: BLE001 - who has asked for it raises it
            order.done.set_exception(error)

    def _begin(self, order: Begin) -> None:
        self._n_begun += 1
        session = self._stages.new_session(self._n_begun, order, self._clock())
        self._sessions[session.id] = session
        self._by_handle[session.handle] = session
        self._waiting.append(session)

    def _hand_out_slots(self) -> None:
        lm = self._stages.lm
        while self._waiting and lm.n_free_slots:
            session = self._waiting.popleft()
            begin = session.begin
            try:
                slot = lm.open(
                    begin.prompt.lm, seed=session.token_seed, limits=LIMITS, layout=begin.layout
                )
                session.enter(slot)
            except PromptTooLongError as error:
                self._end(session, ModelError("failed", f"the voice is too long: {error}"))
            except ValueError as error:
                self._fail(session, error)

    def _append(self, session: Session, order: AppendText) -> None:
        try:
            session.append_text(order.text, order.ids)
        except ValueError as error:
            self._fail(session, error)

    def _end(self, session: Session, error: BaseException | None = None) -> None:
        """Free what a session holds; its handle keeps what has been delivered."""
        del self._sessions[session.id], self._by_handle[session.handle]
        if session in self._waiting:
            self._waiting.remove(session)
        session.close()
        session.handle.end(error)

    def _fail(self, session: Session, error: Exception) -> None:
        if isinstance(error, ModelError | BadSegmentError):
            self._end(session, error)
            return
        traceback.print_exception(error, file=sys.stderr)
        self._end(session, ModelError("failed", "the model failed"))

    # --- Tokens ----------------------------------------------------------------------------

    def _tick(self, sessions: Sequence[Session]) -> None:
        begin_s = self._clock()
        slots = {id(session.lm): session for session in sessions}

        def step(rows: Sequence[Session]) -> list[LmEvent]:
            return self._stages.lm.tick(row.lm for row in rows if row.lm is not None)

        for _, events in self._bisection.run(step, sessions, self._fail):
            for event in events:
                session = slots[id(event.session)]
                if session.id in self._sessions:
                    self._take(session, event)
        self._costs.step_took(len(sessions), self._clock() - begin_s)
        self._hand_out_slots()

    def _take(self, session: Session, event: LmEvent) -> None:
        now_s = self._clock()
        try:
            match event:
                case TokenDrawn():
                    session.take(event.token, now_s)
                case TooLong():
                    raise BadSegmentError("too_long")
                case NotFinite():
                    raise BadSegmentError("nan")
                case Ended():
                    session.decoded(now_s)
        except BadSegmentError as error:
            self._end(session, error)
        else:
            if session.is_over:
                self._end(session)

    # --- Sound -----------------------------------------------------------------------------

    def _rows(self, chunks: Sequence[Chunk]) -> Iterator[ChunkRow]:
        for chunk in chunks:
            session = self._sessions.get(chunk.session)
            if session is None:
                continue
            length: tuple[int, bool] | None = chunk.n_tokens, chunk.final
            if self._hops == "growing":
                length = session.growing_hop()
            if length is not None:
                n_tokens, final = length
                yield ChunkRow(session, n_tokens, final, session.job(n_tokens, final=final))

    def _sound(self, rows: Sequence[ChunkRow]) -> None:
        """Begin the most urgent batch; and the others, if that is over at once as on a CPU."""
        for batch in batches(rows):
            if self._sounder.is_busy:
                return  # the rest is planned anew, with what has come by then
            self._sounder.launch(batch, self._fail_row)
            self._land()

    def _land(self) -> None:
        for flight in self._sounder.land():
            for row, samples in zip(flight.rows, flight.sounds(), strict=True):
                if row.session.id not in self._sessions:
                    continue  # it was cancelled meanwhile
                if samples is None:
                    self._fail(row.session, BadSegmentError("nan"))
                else:
                    self._deliver(row, samples)
            self._measure(flight)
            self._hand_out_slots()

    def _measure(self, flight: Flight) -> None:
        n_new = sum(row.n_tokens for row in flight.rows)
        n_before = sum(row.job.n_computed for row in flight.rows) - n_new
        self._costs.batch_took(n_new, n_before, flight.seconds, n_rows=len(flight.rows))

    def _deliver(self, row: ChunkRow, samples: Samples) -> None:
        try:
            row.session.sounded(row.n_tokens, samples, self._clock())
        except BadSegmentError as error:
            self._end(row.session, error)
        else:
            if row.final:
                self._end(row.session)

    def _fail_row(self, row: ChunkRow, error: Exception) -> None:
        self._fail(row.session, error)
