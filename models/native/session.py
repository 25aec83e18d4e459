"""A session as the engine has it: what has been decided, computed and delivered of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.base import Samples
from models.cosyvoice.features import TokenIds
from models.cosyvoice.guards import AudioGuard, BadSegmentError, TokenGuard
from models.native.flow.hops import ChunkGrid
from models.native.flow.jobs import FlowJob
from models.native.flow.memories import FlowMemory
from models.native.flow.spec import FlowSpec
from models.native.handle import SessionHandle
from models.native.inbox import Begin
from models.native.lm.session import LmSession
from models.native.scheduler.views import GRID_TOKENS, HOPS_TOKENS, TOKEN_S, Pause, Policy
from models.native.scheduler.views import Session as View
from models.native.vocoder.state import VocoderState

TOKEN_RATE_HZ = round(1 / TOKEN_S)
SILENT_TOKENS = {
    2: frozenset[int](),
    3: frozenset({1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323}),
}
"""By version, silence and breath. Upstream's `CosyVoice3Model.silent_tokens`."""
_SILENT_TOKENS_IN_A_ROW = 5
"""Upstream's `max_silent_token_num`."""
_FIRST_AUDIO_S = 0.2
"""By when the first chunk is due."""
_LEAD_SHARE = 0.95
"""Of the limit: who takes everything at once is not made to wait, and is in no hurry either."""
_UNBOUNDED_S = 1e6


def policy_of(run_ahead_s: float) -> Policy:
    """How far sessions run ahead of what their consumers have taken.

    The language model stops further ahead, and so far that it always goes on before the sound stops
    for want of tokens: the share at which it does is above what `Session` tells of a consumer that
    takes everything, with less than a chunk's tokens besides.

    Args:
        run_ahead_s: the sound's.
    """
    return Policy(audio_ahead_s=run_ahead_s, tokens_ahead_s=2 * (run_ahead_s + 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Voiceprint:
    """What the flow is told of a voice, on its device."""

    tokens: TokenIds
    mel: torch.Tensor
    embedding: torch.Tensor


class Session:
    """Belongs to the engine's thread.

    Args:
        number: its own.
        begin: what was asked for.
        token_seed: of its speech tokens.
        voice: on the device.
        spec: of the flow.
        vocoder: its state.
        memory: what the flow keeps of it, if it does.
        sample_rate_hz: of its sound.
        now_s: the clock.
    """

    def __init__(
        self,
        number: int,
        begin: Begin,
        *,
        token_seed: int,
        voice: Voiceprint,
        spec: FlowSpec,
        vocoder: VocoderState,
        memory: FlowMemory | None,
        sample_rate_hz: int,
        now_s: float,
    ) -> None:
        self.id = number
        self.begin = begin
        self.token_seed = token_seed
        self.vocoder = vocoder
        self.pause = Pause()
        self.flying = False
        """Its next chunk is being computed."""
        self._voice = voice
        self._memory = memory
        self._lookahead = spec.lookahead_tokens
        self._grid = ChunkGrid(spec, len(voice.tokens))
        self._rate_hz = sample_rate_hz
        self._silent: Collection[int] = SILENT_TOKENS[spec.version]
        self._token_guard = TokenGuard(token_rate_hz=TOKEN_RATE_HZ, silent_tokens=self._silent)
        self._audio_guard = AudioGuard(sample_rate_hz)
        self._lm: LmSession | None = None
        self._early_text: list[int] = []
        self._text_ended = False
        self._tokens: list[int] = []
        self._n_silent = 0
        self._n_sounded = 0
        self._n_hops = 0
        self._decoded = False
        self._ready_since_s = now_s
        # Before the first chunk when that is due, and afterwards when the listener runs dry.
        self._due_s = now_s + _FIRST_AUDIO_S

    @property
    def handle(self) -> SessionHandle:
        """The stream's end of it."""
        return self.begin.handle

    # --- Text and tokens -------------------------------------------------------------------

    @property
    def lm(self) -> LmSession | None:
        """Its slot in the language model; None until there is one."""
        return self._lm

    def enter(self, lm: LmSession) -> None:
        """Take a slot, and give it the text that has come.

        Raises:
            ValueError: the model does not know an id of the text.
        """
        self._lm = lm
        lm.append_text(self._early_text)
        if self._text_ended:
            lm.end_text()

    def append_text(self, text: str, ids: Sequence[int]) -> None:
        """Take (more) text.

        Raises:
            ValueError: the model does not know an id.
        """
        self._token_guard.add_text(text, len(ids))
        if self._lm is None:
            self._early_text += ids
        elif self._lm.is_open:
            self._lm.append_text(ids)

    def end_text(self) -> None:
        """No more text comes."""
        self._text_ended = True
        if self._lm is not None and self._lm.is_open:
            self._lm.end_text()

    def take(self, token: int, now_s: float) -> None:
        """Take the next speech token.

        Raises:
            BadSegmentError: the speech goes wrong with it.
        """
        self._token_guard.check(token)
        # Leave out what exceeds a few silent tokens in a row, as upstream does for version 3.
        self._n_silent = self._n_silent + 1 if token in self._silent else 0
        if self._n_silent > _SILENT_TOKENS_IN_A_ROW:
            return
        self._tokens.append(token)
        if len(self._tokens) == self._grid.max_tokens:
            raise BadSegmentError("too_long")
        if self._n_ready == self._least_ready:
            self._ready_since_s = now_s

    def decoded(self, now_s: float) -> None:
        """There are no more tokens."""
        self._decoded = True
        self._ready_since_s = now_s

    @property
    def is_over(self) -> bool:
        """Everything has been sounded."""
        return self._decoded and not self._n_ready

    @property
    def _n_ready(self) -> int:
        return len(self._tokens) - self._n_sounded

    @property
    def _least_ready(self) -> int:
        return self._first_hop + self._lookahead

    @property
    def _first_hop(self) -> int:
        """Up to the grid; after the first chunk always the same."""
        return self._grid.end(self._n_sounded, GRID_TOKENS) - self._n_sounded

    # --- Sound -----------------------------------------------------------------------------

    def growing_hop(self) -> tuple[int, bool] | None:
        """The next chunk in upstream's order of lengths, and whether it is the last; or None."""
        longest = HOPS_TOKENS[max(0, len(HOPS_TOKENS) - 1 - self._n_hops)]
        hop = self._first_hop if not self._n_hops else longest
        if self._n_ready >= hop + self._lookahead:
            return hop, False
        return (self._n_ready, True) if self._decoded and self._n_ready else None

    def job(self, n_tokens: int, *, final: bool) -> FlowJob:
        """The chunk of the next tokens.

        Args:
            n_tokens: its length.
            final: it is the last.
        """
        end = len(self._tokens) if final else self._n_sounded + n_tokens + self._lookahead
        tokens = np.array(self._tokens[:end], np.int32)
        n_before = len(self._voice.tokens) + self._n_sounded
        return FlowJob(
            tokens=np.concatenate((self._voice.tokens, tokens)),
            prompt_mel=self._voice.mel,
            embedding=self._voice.embedding,
            first_new_frame=self._grid.first_frame(self._n_sounded),
            final=final,
            memory=self._memory,
            n_kept=n_before - self._n_again,
        )

    @property
    def _n_again(self) -> int:
        """Tokens before the next chunk that are computed again with it."""
        n_before = len(self._voice.tokens) + self._n_sounded
        if self._memory is None:
            return n_before
        return n_before - self._memory.n_kept(self._grid.first_frame(self._n_sounded))

    def sounded(self, n_tokens: int, samples: Samples, now_s: float) -> None:
        """Deliver a chunk.

        Raises:
            BadSegmentError: it is not to be played.
        """
        self._audio_guard.check(samples)
        if self._memory is not None:
            self._memory.keep()
        first = self._n_hops == 0
        self._n_hops += 1
        self._n_sounded += n_tokens
        self._ready_since_s = now_s
        begin_s = now_s if first else max(self._due_s, now_s)
        self._due_s = begin_s + len(samples) / self._rate_hz
        if len(samples):
            self.handle.put(samples)

    def close(self) -> None:
        """Give back what is kept of it."""
        if self._lm is not None:
            self._lm.close()
        if self._memory is not None:
            self._memory.close()

    # --- For the scheduler -----------------------------------------------------------------

    def view(self, now_s: float, policy: Policy) -> View:
        """As the scheduler sees it, and the flow, which forgets first who is due last."""
        deadline_s = self._deadline_s(now_s, policy)
        if self._memory is not None:
            self._memory.needed_at_s = deadline_s
        return View(
            id=self.id,
            tenant=self.begin.tenant,
            deadline_s=deadline_s,
            begun=self._n_hops > 0,
            n_ready=self._n_ready,
            first_hop_tokens=self._first_hop,
            n_before=self._n_again,
            decodable=self._lm is not None and self._lm.is_ready,
            ended=self._decoded,
            ready_since_s=self._ready_since_s,
            # What its consumer has not taken stands for its lead instead.
            credit_s=_UNBOUNDED_S,
            pause=self.pause,
            flying=self.flying,
        )

    def _deadline_s(self, now_s: float, policy: Policy) -> float:
        """When the listener runs dry, as far as it can be told from what its consumer takes.

        How far a session may run ahead is counted from what has been taken. Who takes everything at
        once, to write a file, is never made to wait for a listener's clock.
        """
        if not self._n_hops:
            return self._due_s
        limit_s = policy.audio_ahead_s
        queued_s = self.handle.queued_samples / self._rate_hz
        if self.pause.audio and queued_s >= limit_s * policy.resume:
            # It stands still until it is woken; the clock does not matter.
            return now_s + max(queued_s, limit_s)
        if self.pause.audio or queued_s >= limit_s:
            return now_s + queued_s
        return min(self._due_s, now_s + limit_s * _LEAD_SHARE)
