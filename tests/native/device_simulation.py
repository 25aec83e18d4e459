"""A device and its clients on a simulated clock, driven by the scheduler's plans.

The device does one thing at a time, a step of the language model, then a batch of chunks; or, if
its costs say so, steps beside one batch. A client plays what it has as soon as its pre-buffer is
filled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from models.native.costs import MeasuredCosts
from models.native.scheduler.planning import plan
from models.native.scheduler.views import (
    TOKEN_S,
    Chunk,
    Costs,
    Pause,
    Plan,
    Policy,
    Session,
    SessionId,
)

PRE_BUFFER_S = 0.2
FIRST_TARGET_S = 0.3


@dataclass(kw_only=True)
class Speaker:
    """A session with its client."""

    id: SessionId
    arrival_s: float
    n_tokens: int
    tenant: str = "a"
    pace: float = 1.0
    """Seconds of speech that its socket takes in a second, beside a queue of `queue_s`."""
    queue_s: float = 20.0
    cancel_s: float = float("inf")
    admitted_s: float = 0.0
    n_decoded: int = 0
    n_sounded: int = 0
    ready_since_s: float = 0.0
    first_s: float | None = None
    """When its first chunk was out."""
    dry_s: float = 0.0
    underruns: list[float] = field(default_factory=list)
    """How late its chunks were."""
    hops: list[int] = field(default_factory=list)
    pause: Pause = field(default_factory=Pause)
    flying: bool = False
    end: str = ""

    @property
    def sent_s(self) -> float:
        return self.n_sounded * TOKEN_S

    def credit_s(self, now_s: float) -> float:
        if self.first_s is None:
            return self.queue_s
        taken_s = min(self.sent_s, (now_s - self.first_s) * self.pace + 2.0)
        return self.queue_s - (self.sent_s - taken_s)

    def view(self, now_s: float) -> Session:
        ended = self.n_decoded == self.n_tokens
        begun = self.first_s is not None
        return Session(
            id=self.id,
            tenant=self.tenant,
            deadline_s=self.dry_s if begun else self.admitted_s + FIRST_TARGET_S,
            begun=begun,
            n_ready=self.n_decoded - self.n_sounded,
            n_before=75 + self.n_sounded,
            decodable=not ended,
            ended=ended,
            ready_since_s=self.ready_since_s,
            credit_s=self.credit_s(now_s),
            pause=self.pause,
            flying=self.flying,
        )

    def decode(self, now_s: float) -> None:
        self.n_decoded += 1
        if self.n_decoded - self.n_sounded in (28, self.n_tokens - self.n_sounded):
            self.ready_since_s = now_s

    def hear(self, now_s: float, chunk: Chunk) -> None:
        if self.first_s is None:
            self.first_s, self.dry_s = now_s, now_s + PRE_BUFFER_S
        elif now_s > self.dry_s:
            self.underruns.append(now_s - self.dry_s)
            self.dry_s = now_s
        self.n_sounded += chunk.n_tokens
        self.dry_s += chunk.n_tokens * TOKEN_S
        self.ready_since_s = now_s
        self.hops.append(chunk.n_tokens)
        if chunk.final:
            assert self.n_sounded == self.n_tokens
            self.end = "spoken"


class Simulation:
    """Runs until nobody is left.

    Args:
        costs: of the device.
        speakers: who will come.
        policy: of the scheduler.
        stalls: when the device stands still, and for how long.
        looks: is shown each plan.
        measured: by which is planned, in place of what is true; it is told what the device takes.
        room: how many sessions are taken at once; asked for each that comes, or waits.
        slowness: of the device, at a time.
    """

    def __init__(
        self,
        costs: Costs,
        speakers: Iterable[Speaker],
        policy: Policy | None = None,
        *,
        stalls: Iterable[tuple[float, float]] = (),
        looks: Callable[[float, list[Session], Plan], None] | None = None,
        measured: MeasuredCosts | None = None,
        room: Callable[[], int] | None = None,
        slowness: Callable[[float], float] = lambda _: 1.0,
    ) -> None:
        self.now_s = 0.0
        self.busy_s = 0.0
        self._costs = costs
        self._policy = policy or Policy()
        self.coming = sorted(speakers, key=lambda speaker: speaker.arrival_s, reverse=True)
        self.everybody = list(reversed(self.coming))
        self._here: dict[SessionId, Speaker] = {}
        self._waiting: deque[Speaker] = deque()
        self._stalls = sorted(stalls, reverse=True)
        self._looks = looks
        self._measured = measured
        self._room = room
        self._slowness = slowness
        self._flight: tuple[float, Sequence[Chunk]] | None = None

    def run(self, longest_s: float = 1000.0) -> None:
        while self.coming or self._here or self._waiting:
            assert self.now_s < longest_s, f"{len(self._here)} sessions hang"
            self._greet()
            present = [speaker for speaker in self._here.values() if not speaker.end]
            views = [speaker.view(self.now_s) for speaker in present]
            costs = self._measured.costs if self._measured else self._costs
            found = plan(self.now_s, views, costs, self._policy)
            if self._looks:
                self._looks(self.now_s, views, found)
            for key, pause in found.pauses.items():
                self._here[key].pause = pause
            for key in found.drop:
                self._here.pop(key).end = "dropped"
            self._compute(found, {view.id: view for view in views})
            self._land()

    def _greet(self) -> None:
        for speaker in list(self._here.values()):
            if speaker.cancel_s <= self.now_s:
                speaker.end = "cancelled"
            if speaker.end and not speaker.flying:
                del self._here[speaker.id]
        while self.coming and self.coming[-1].arrival_s <= self.now_s:
            self._waiting.append(self.coming.pop())
        while self._waiting and (self._room is None or len(self._here) < self._room()):
            speaker = self._waiting.popleft()
            speaker.admitted_s = speaker.arrival_s if self._room is None else self.now_s
            self._here[speaker.id] = speaker

    def _compute(self, found: Plan, views: dict[SessionId, Session]) -> None:
        begin_s = self.now_s
        stalled_s = 0.0
        while self._stalls and self._stalls[-1][0] <= self.now_s:
            stalled_s += self._stalls.pop()[1]
        if self._flight is not None:
            self._flight = self._flight[0] + stalled_s, self._flight[1]
        launched = bool(found.chunks) and self._flight is None
        if launched and self._costs.overlap:
            self._launch(found.chunks, views, stalled_s)
        if found.step:
            seconds = self._costs.step(len(found.step)) * self._slowness(self.now_s) + stalled_s
            stalled_s = 0.0
            self.now_s += seconds
            for key in found.step:
                self._here[key].decode(self.now_s)
            if self._measured:
                self._measured.step_took(len(found.step), seconds)
        if launched and not self._costs.overlap:
            self.now_s = self._launch(found.chunks, views, stalled_s)
        self.busy_s += self.now_s - begin_s
        if not found.step and not (launched and not self._costs.overlap):
            self._sleep(found)

    def _launch(
        self, chunks: Sequence[Chunk], views: dict[SessionId, Session], stalled_s: float
    ) -> float:
        seconds = self._costs.batch_s
        seconds += sum(self._costs.chunk(views[chunk.session], chunk.n_tokens) for chunk in chunks)
        seconds = seconds * self._slowness(self.now_s) + stalled_s
        if self._measured:
            n_before = sum(views[chunk.session].n_before for chunk in chunks)
            n_new = sum(chunk.n_tokens for chunk in chunks)
            self._measured.batch_took(n_new, n_before, seconds, n_rows=len(chunks))
        for chunk in chunks:
            self._here[chunk.session].flying = True
        self._flight = self.now_s + seconds, chunks
        return self._flight[0]

    def _land(self) -> None:
        if self._flight is None or self._flight[0] > self.now_s:
            return
        for chunk in self._flight[1]:
            speaker = self._here[chunk.session]
            speaker.flying = False
            speaker.hear(self.now_s, chunk)
        self._flight = None

    def _sleep(self, found: Plan) -> None:
        events = [] if found.wake_s is None else [found.wake_s]
        events += [] if self._flight is None else [self._flight[0]]
        events += [
            speaker.cancel_s for speaker in self._here.values() if speaker.cancel_s > self.now_s
        ]
        events += [self.coming[-1].arrival_s] if self.coming else []
        # Clients take from their queues.
        events += [self.now_s + 0.1] if self._here else []
        # A microsecond later, so that rounding does not keep the clock from moving.
        self.now_s = max(min(events, default=0.0), self.now_s) + 1e-6


def poisson(
    random: Random, rate_hz: float, until_s: float, tokens: tuple[int, int] = (30, 400)
) -> list[Speaker]:
    """Sessions that come at random."""
    found, now_s = [], 0.0
    while (now_s := now_s + random.expovariate(rate_hz)) < until_s:
        found.append(Speaker(id=len(found), arrival_s=now_s, n_tokens=random.randint(*tokens)))
    return found
