"""Who is served next.

The order, of chunks as of steps: sessions that would run dry within a batch, by deadline; first
chunks; all others by deadline. Among first chunks, and among those in no hurry, tenants take turns.
While somebody waits for a first chunk, what is in no hurry waits too, unless it is done beside the
steps that the first chunk waits for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from models.native.scheduler.ahead import pause_of, resumes_at_s, token_lead_s
from models.native.scheduler.capacity import first_chunk_s
from models.native.scheduler.hops import next_chunk
from models.native.scheduler.views import (
    GRID_TOKENS,
    Chunk,
    Costs,
    Pause,
    Plan,
    Policy,
    Session,
    SessionId,
)

_HURRIED, _FIRST, _EASY = range(3)


def plan(
    now_s: float, sessions: Sequence[Session], costs: Costs, policy: Policy | None = None
) -> Plan:
    """What to compute next.

    Args:
        now_s: the clock, whose zero is that of all times here.
        sessions: all that have not ended or been cancelled.
        costs: of the device.
        policy: of the operator.
    """
    policy = policy or Policy()
    pauses = {session.id: pause_of(now_s, session, policy) for session in sessions}
    drop = [session.id for session in sessions if _given_up(now_s, pauses[session.id], policy)]
    served = [session for session in sessions if session.id not in drop]
    planner = _Planner(now_s, served, pauses, costs, policy)
    chunks, chunk_wake_s = planner.chunks()
    step = planner.step()
    wakes = [
        pause.parked_since_s + policy.longest_parked_s
        for session in served
        if (pause := pauses[session.id]).parked_since_s is not None
    ]
    wakes += [] if chunk_wake_s is None else [chunk_wake_s]
    return Plan(
        step=step,
        chunks=chunks,
        pauses=pauses,
        drop=drop,
        wake_s=min(wakes, default=None),
    )


def _given_up(now_s: float, pause: Pause, policy: Policy) -> bool:
    since_s = pause.parked_since_s
    return since_s is not None and now_s - since_s >= policy.longest_parked_s


class _Planner:
    def __init__(
        self,
        now_s: float,
        sessions: Sequence[Session],
        pauses: dict[SessionId, Pause],
        costs: Costs,
        policy: Policy,
    ) -> None:
        self._now_s = now_s
        self._sessions = sessions
        self._pauses = pauses
        self._costs = costs
        self._policy = policy
        awaited = [
            session
            for session in sessions
            if not session.begun and not session.flying and session.decodable
        ]
        self._awaited = bool(awaited)
        self._spare_s = self._until_first_s(awaited)
        self._hurry_s = self._crowd_s()
        # That others may wait for what is in no hurry: as much as is wanted of a first chunk, or as
        # that takes alone.
        self._longest_s = max(policy.first_audio_s, first_chunk_s(costs, policy, 1, 0))

    def _until_first_s(self, awaited: Sequence[Session]) -> float:
        """How long what is in no hurry may take, so that no first chunk waits for it."""
        if awaited and not self._costs.overlap:
            return 0.0
        step_s = self._costs.step(min(len(self._sessions), self._policy.most_steps))
        missing = [
            session.first_hop_tokens + self._policy.lookahead_tokens - session.n_ready
            for session in awaited
        ]
        return max(0, min(missing)) * step_s if missing else float("inf")

    def _crowd_s(self) -> float:
        """What another batch would take, if it were full of short chunks."""
        chunks_s = sorted(self._costs.chunk(session, GRID_TOKENS) for session in self._sessions)
        return self._costs.batch_s + sum(chunks_s[-self._policy.most_rows :])

    def step(self) -> list[SessionId]:
        """Sessions of the next step of the language model."""
        wanting = [
            session
            for session in self._sessions
            if session.decodable
            and not self._pauses[session.id].tokens
            and not self._steps_aside(session)
        ]
        classes = {session.id: self._class(session, 0) for session in wanting}
        return [session.id for session in _ordered(wanting, classes)][: self._policy.most_steps]

    def _steps_aside(self, session: Session) -> bool:
        """Makes no tokens as long as somebody waits for a first chunk.

        A smaller step is a shorter one, and those with plenty in hand lose nothing.
        """
        plenty_s = self._policy.audio_ahead_s * self._policy.resume
        return self._awaited and session.begun and token_lead_s(self._now_s, session) >= plenty_s

    def chunks(self) -> tuple[list[Chunk], float | None]:
        """The next batch, and when to look again if it is empty."""
        # Where steps go on, others' batch is under way when the tokens of a longer chunk have come.
        others_s = self._longest_s if self._costs.overlap and len(self._sessions) > 1 else 0.0
        found: dict[SessionId, Chunk] = {}
        for session in self._sessions:
            pause = self._pauses[session.id]
            if self._steps_aside(session):
                pause = replace(pause, tokens=True)  # and waits for none
            chunk = next_chunk(
                self._now_s, session, pause, self._costs, self._policy, others_s=others_s
            )
            if chunk is not None and not session.flying:
                found[session.id] = chunk
        wanting = [session for session in self._sessions if session.id in found]
        classes = {
            session.id: self._class(session, found[session.id].n_tokens) for session in wanting
        }
        batch = self._batch(_ordered(wanting, classes), classes, found)
        if batch:
            company_s = self._company_s({chunk.session: chunk for chunk in batch})
            return ([], self._now_s + company_s) if company_s else (batch, None)
        return [], self._wake_s(wanting)

    def _class(self, session: Session, n_tokens: int) -> int:
        if not session.begun:
            return _FIRST
        return _HURRIED if self._slack_s(session, n_tokens) < self._hurry_s else _EASY

    def _slack_s(self, session: Session, n_tokens: int) -> float:
        cost_s = self._costs.batch_s + self._costs.chunk(session, n_tokens)
        return session.deadline_s - self._now_s - self._policy.margin_s - cost_s

    def _batch(
        self,
        ordered: Sequence[Session],
        classes: dict[SessionId, int],
        found: dict[SessionId, Chunk],
    ) -> list[Chunk]:
        hurried = any(classes[session.id] != _EASY for session in ordered)
        if not hurried and (not self._spare_s or self._may_wait(ordered)):
            return []
        batch: list[Chunk] = []
        taken_s = self._costs.batch_s
        latest_s = float("inf")
        for session in ordered[: self._policy.most_rows]:
            chunk = found[session.id]
            taken_s += self._costs.chunk(session, chunk.n_tokens)
            if classes[session.id] == _EASY and taken_s > self._most_easy_s(batch):
                break
            # Another row may not make those before it late, unless they are late anyway.
            if batch and self._now_s + taken_s > latest_s:
                break
            batch.append(chunk)
            due_s = session.deadline_s - self._policy.margin_s
            if due_s >= self._now_s + taken_s:
                latest_s = min(latest_s, due_s)
        return batch

    def _company_s(self, batch: dict[SessionId, Chunk]) -> float:
        """How long a batch is to wait for another session's chunk; 0 if it is not.

        Where steps and batches take turns, the steps that are still missing have to be made anyway,
        and one batch takes less time than two: as much may be waited for in all. Nobody becomes
        late by it who would not be late without.
        """
        if self._costs.overlap or len(batch) >= self._policy.most_rows:
            return 0.0
        coming = [
            (missing, session)
            for session in self._sessions
            if session.id not in batch and (missing := self._missing(session))
        ]
        if not coming:
            return 0.0
        missing, next_one = min(coming, key=lambda pair: pair[0])
        wait_s = missing * self._costs.step(min(len(self._sessions), self._policy.most_steps))
        rows = [session for session in self._sessions if session.id in batch]
        waited_s = self._now_s - min(session.ready_since_s for session in rows)
        if waited_s + wait_s > self._costs.batch_s:
            return 0.0
        alone_s = self._costs.batch_s + sum(
            self._costs.chunk(session, batch[session.id].n_tokens) for session in rows
        )
        together_s = wait_s + alone_s + self._costs.chunk(next_one, GRID_TOKENS)
        for session in rows:
            left_s = session.deadline_s - self._policy.margin_s - self._now_s
            if alone_s <= left_s < together_s:
                return 0.0
        return wait_s

    def _missing(self, session: Session) -> int:
        """Tokens until a session's next chunk, if they are being made; 0 if not."""
        if (
            not session.decodable
            or session.flying
            or self._pauses[session.id].tokens
            or self._steps_aside(session)
        ):
            return 0
        hop = GRID_TOKENS if session.begun else session.first_hop_tokens
        return max(0, hop + self._policy.lookahead_tokens - session.n_ready)

    def _most_easy_s(self, batch: Sequence[Chunk]) -> float:
        """How long a batch may become by what is in no hurry."""
        return min(self._spare_s, self._longest_s) if batch else self._spare_s

    def _may_wait(self, ordered: Sequence[Session]) -> bool:
        """A batch in no hurry waits a moment for company."""
        if len(ordered) >= self._policy.most_rows:
            return False
        oldest_s = min((session.ready_since_s for session in ordered), default=self._now_s)
        return self._now_s - oldest_s < self._policy.batch_wait_s

    def _wake_s(self, wanting: Sequence[Session]) -> float | None:
        """When something is to be computed even if nothing happens until then."""
        wakes = [
            max(session.ready_since_s + self._policy.batch_wait_s, self._now_s)
            if not self._awaited
            else self._turns_hurried_s(session)
            for session in wanting
        ]
        for session in self._sessions:
            pause = self._pauses[session.id]
            if session.flying or pause.parked_since_s is not None:
                continue  # until its chunk is out, or its client takes something
            resumes_s = resumes_at_s(session, pause, self._policy)
            if resumes_s is not None:
                wakes.append(resumes_s)
            elif session.begun and session.n_ready >= GRID_TOKENS + self._policy.lookahead_tokens:
                wakes.append(self._turns_hurried_s(session))
        return min((wake_s for wake_s in wakes if wake_s > self._now_s), default=None)

    def _turns_hurried_s(self, session: Session) -> float:
        return self._now_s + max(0.0, self._slack_s(session, GRID_TOKENS) - self._hurry_s)


def _ordered(sessions: Sequence[Session], classes: dict[SessionId, int]) -> list[Session]:
    turns: defaultdict[tuple[int, str], int] = defaultdict(int)
    keys: dict[SessionId, tuple[int, int, float]] = {}
    for session in sorted(sessions, key=lambda session: session.deadline_s):
        rank = classes[session.id]
        turn = 0
        if rank != _HURRIED:
            turn = turns[rank, session.tenant]
            turns[rank, session.tenant] += 1
        keys[session.id] = (rank, turn, session.deadline_s)
    return sorted(sessions, key=lambda session: keys[session.id])
