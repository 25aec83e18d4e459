"""What a plan is made of, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

SessionId: TypeAlias = int
GRID_TOKENS = 25
"""Chunks of this size the flow was trained with; hops are multiples of it."""
HOPS_TOKENS = (4 * GRID_TOKENS, 2 * GRID_TOKENS, GRID_TOKENS)
TOKEN_S = 0.04
"""Speech of one token, in versions 2 and 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What of a session stands still until its client has caught up. Goes over to the next plan."""

    tokens: bool = False
    """The language model is far enough ahead."""
    audio: bool = False
    """Flow and vocoder are far enough ahead."""
    parked_since_s: float | None = None
    """Since when its client takes too little for the smallest chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session as the scheduler sees it."""

    id: SessionId
    tenant: str
    deadline_s: float
    """When its client will have played everything; before the first chunk, when that is due."""
    begun: bool
    """Its first chunk is out."""
    n_ready: int
    """Speech tokens that are there and of which no sound has been made."""
    first_hop_tokens: int = GRID_TOKENS
    """Of the first chunk: what the prompt leaves of its last cell of the grid, and a cell more."""
    n_before: int = 0
    """Tokens before those, the prompt's included, which the flow computes again."""
    decodable: bool
    """The language model can step: it has text, and has not come to its end."""
    ended: bool
    """It has come to its end: what is ready is the rest."""
    ready_since_s: float = 0.0
    """When the smallest chunk that is not computed yet became ready."""
    credit_s: float
    """Speech that its client's queue still takes; an empty one takes a second at least.

    Without end where `deadline_s` is counted from what the client has taken, as the engine's
    sessions count it: then the lead is what the queue holds, and nothing is computed for a client
    that takes nothing once that is `Policy.audio_ahead_s` and at most a chunk.
    """
    pause: Pause = field(default_factory=Pause)
    flying: bool = False
    """A chunk of it is being computed, of tokens that are among the ready ones; until that is out
    there is no next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the device takes, as measured: straight lines."""

    step_s: float
    """A step of the language model."""
    step_row_s: float
    """More, for each session in it."""
    batch_s: float
    """Flow and vocoder, whatever they compute."""
    token_s: float
    """More, for each token that sound is made of."""
    before_token_s: float = 0.0
    """More, for each token before those."""
    overlap: bool = False
    """Steps and batches run side by side."""

    def step(self, n_rows: int) -> float:
        """Seconds of a step with so many sessions."""
        return self.step_s + n_rows * self.step_row_s

    def chunk(self, session: Session, n_tokens: int) -> float:
        """Seconds that a chunk adds to its batch."""
        return n_tokens * self.token_s + session.n_before * self.before_token_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an operator may choose."""

    margin_s: float = 0.05
    """A chunk is to be out so long before its deadline."""
    tokens_ahead_s: float = 10.0
    """Speech, sent or in tokens, at which the language model stops for a session."""
    audio_ahead_s: float = 3.0
    """Speech that is sent and not yet played, at which flow and vocoder stop for it."""
    resume: float = 0.5
    """Both go on when less than this share is left."""
    batch_wait_s: float = 0.005
    """A chunk that is in no hurry waits so long for others to share its batch."""
    most_rows: int = 16
    """Of a batch of chunks."""
    most_steps: int = 128
    """Rows of a step of the language model."""
    lookahead_tokens: int = 3
    """That the flow sees beyond a chunk that is not the last."""
    longest_parked_s: float = 30.0
    """A client that takes nothing for so long is given up."""
    most_used: float = 0.75
    """Share of the device's time that sessions in real time may take; the rest makes good for what
    is not foreseen, and lets newcomers gain a lead."""
    first_audio_s: float = 0.2
    """By which others may delay a first chunk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A chunk to compute."""

    session: SessionId
    n_tokens: int
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to compute next. A step and a batch may run side by side."""

    step: Sequence[SessionId]
    """Sessions of the next step of the language model, the most urgent first."""
    chunks: Sequence[Chunk]
    """The next batch of flow and vocoder, the most urgent first."""
    pauses: Mapping[SessionId, Pause]
    """Of all sessions, for the next plan."""
    drop: Sequence[SessionId]
    """Sessions whose clients have taken nothing for too long."""
    wake_s: float | None
    """When to plan again if there is nothing to compute and nothing happens; None for never."""
