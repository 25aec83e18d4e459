"""Who keeps which pages: streams what they have computed, voices what their prompts became.

All of it may be dropped at any time; what is missing is computed again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from models.cosyvoice.features import Floats, TokenIds
from models.native.flow.pages import PagePool
from models.native.flow.spec import FlowSpec


@dataclass(slots=True, kw_only=True, eq=False)
class FlowMemory:
    """What is kept of one stream. Made by `Memories.remember`.

    All jobs of the stream go on from the same prompt, and none has other tokens than those before
    had; otherwise they would become what nobody asked for.
    """

    memories: Memories
    voice: bytes
    n_prompt_pages: int
    """That depend on nothing but the voice."""
    chunk_tokens: int
    chunk_frames: int
    pages: list[int] = field(default_factory=list)
    """From the prompt's beginning, without a gap."""
    needed_at_s: float = 0.0
    """When it is next used, by the clock of whoever sets it; the latest is dropped first."""
    under_way: NewPages | None = None
    is_closed: bool = False

    def n_pages_before(self, frame: int) -> int:
        """From how many pages a job can go on whose new frames begin there."""
        return min(len(self.pages), frame // self.chunk_frames)

    def n_kept(self, frame: int) -> int:
        """The same in tokens: so many are not computed again."""
        return self.n_pages_before(frame) * self.chunk_tokens

    def keep(self) -> None:
        """What the last job became is good: the stream goes on from it.

        Without it the next job begins where the last one did.
        """
        self.memories.keep(self)

    def forget(self) -> None:
        """What the last job became is not good, or nothing: the stream is as it was before."""
        self.memories.drop(self)

    def close(self) -> None:
        """Give its pages back. May be called again."""
        self.memories.close(self)


class NewPages(NamedTuple):
    """What a job that is under way will leave behind."""

    n_before: int
    """Pages of its stream that the job goes on from."""
    pages: list[int]


class Memories:
    """Shares a pool among streams. Belongs to one thread.

    Args:
        pool: of all pages.
        spec: of the flow.
    """

    def __init__(self, pool: PagePool, spec: FlowSpec) -> None:
        self.pool = pool
        self.n_evicted = 0
        """Pages of streams that were dropped while they were still of use."""
        self._spec = spec
        self._open: list[FlowMemory] = []
        self._prompts: OrderedDict[bytes, list[int]] = OrderedDict()
        """By voice, the one used last at the end."""

    @property
    def n_prompt_pages(self) -> int:
        """Pages that voices keep; may be asked for by any thread."""
        return sum(map(len, tuple(self._prompts.values())))

    def remember(self, tokens: TokenIds, mel: Floats, embedding: Floats) -> FlowMemory:
        """A memory for a new stream, which begins with what is known of its voice's prompt.

        Args:
            tokens: (n,), of the prompt.
            mel: (m, 80), of the prompt.
            embedding: of the speaker.
        """
        # The last chunk of a prompt is not shared: it looks ahead at what is said after it.
        shared = max(0, len(tokens) - self._spec.lookahead_tokens) // self._spec.chunk_tokens
        memory = FlowMemory(
            memories=self,
            voice=_key(tokens, mel, embedding),
            n_prompt_pages=shared,
            chunk_tokens=self._spec.chunk_tokens,
            chunk_frames=self._spec.estimator.chunk_frames,
        )
        if known := self._prompts.get(memory.voice):
            self._prompts.move_to_end(memory.voice)
            self.pool.hold(known)
            memory.pages = known.copy()
        self._open.append(memory)
        return memory

    def close(self, memory: FlowMemory) -> None:
        """See `FlowMemory.close`."""
        if memory.is_closed:
            return
        memory.is_closed = True
        self.drop(memory)
        self.pool.release(memory.pages)
        memory.pages = []
        self._open.remove(memory)

    def reserve(
        self, memory: FlowMemory, n_before: int, n: int, in_use: Collection[FlowMemory]
    ) -> NewPages:
        """Take pages for a stream's next chunks, if need be from others.

        First from prompts that nobody uses, then from the stream that is needed last.

        Args:
            memory: of the stream, which stays as it is until `keep`.
            n_before: pages of it that the job goes on from.
            n: how many; there may be fewer.
            in_use: memories from which nothing may be taken.
        """
        self.drop(memory)
        if len(memory.pages) > n_before:
            n = 0  # the job has been computed before
        while self.pool.n_free < n and (self._forget_prompt() or self._evict(memory, in_use)):
            pass
        last = memory.pages[n_before - 1] if n_before else None
        memory.under_way = NewPages(n_before, self.pool.take(n, after=last))
        return memory.under_way

    def keep(self, memory: FlowMemory) -> None:
        """See `FlowMemory.keep`."""
        new, memory.under_way = memory.under_way, None
        if new is None or not new.pages:
            return
        if len(memory.pages) != new.n_before:
            self.pool.release(new.pages)  # what they go on from has been dropped meanwhile
            return
        memory.pages += new.pages
        self._share_prompt(memory)

    def drop(self, memory: FlowMemory) -> None:
        """See `FlowMemory.forget`."""
        if memory.under_way is not None:
            self.pool.release(memory.under_way.pages)
            memory.under_way = None

    def _share_prompt(self, memory: FlowMemory) -> None:
        n = memory.n_prompt_pages
        if not n or len(memory.pages) < n:
            return
        known = self._prompts.get(memory.voice)
        if known is None:
            self._prompts[memory.voice] = known = memory.pages[:n]
            self.pool.hold(known)
        elif known != memory.pages[:n]:
            # Two streams have computed it at the same time; once is enough.
            self.pool.hold(known)
            self.pool.release(memory.pages[:n])
            memory.pages[:n] = known

    def _forget_prompt(self) -> bool:
        for voice, pages in self._prompts.items():
            if all(self.pool.holders(page) == 1 for page in pages):
                self.pool.release(self._prompts.pop(voice))
                return True
        return False

    def _evict(self, memory: FlowMemory, in_use: Collection[FlowMemory]) -> bool:
        """Drop the last page of the stream that is needed last, if that is after `memory`."""
        found = [
            other
            for other in self._open
            if other is not memory
            and other not in in_use
            and other.needed_at_s >= memory.needed_at_s
            and other.pages
            and self.pool.holders(other.pages[-1]) == 1
        ]
        if not found:
            return False
        last = max(found, key=lambda other: other.needed_at_s)
        self.pool.release([last.pages.pop()])
        self.n_evicted += 1
        return True


def _key(tokens: TokenIds, mel: Floats, embedding: Floats) -> bytes:
    """What a voice is made of, and nothing else, decides."""
    digest = hashlib.blake2b(digest_size=32)
    parts = np.asarray(tokens, np.int64), np.float32(mel), np.float32(embedding)
    for data in parts:
        digest.update(repr(data.shape).encode())
        digest.update(data.tobytes())
    return digest.digest()
