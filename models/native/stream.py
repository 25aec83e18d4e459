"""One request being spoken: passages, and what is tried again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TypeAlias

import numpy as np

from models.base import ModelError, PcmChunk
from models.cosyvoice.guards import BadSegmentError
from models.cosyvoice.request_text import StreamedText, WholeText
from models.native.engine import Engine
from models.native.handle import SessionHandle
from models.native.inbox import VoicePrompt
from models.native.lm.sequence import TextLayout
from models.native.text_feeder import FedPassage, TextFeeder

Report: TypeAlias = Callable[[str], None]
"""Takes the name of an incident."""

_ATTEMPTS = 2


class SpeechStream:
    """Speaks one text with one voice, in the thread that pulls it.

    Args:
        engine: computes it.
        prompt: the voice, and how it is to be spoken.
        seed: the same gives the same speech tokens, whatever is spoken beside.
        tenant: whose it is; tenants take turns.
        report: is told of what the guards met.
    """

    def __init__(
        self, engine: Engine, prompt: VoicePrompt, *, seed: int, tenant: str, report: Report
    ) -> None:
        self._engine = engine
        self._prompt = prompt
        self._seed = seed
        self._tenant = tenant
        self._report = report

    def chunks(self, text: WholeText | StreamedText) -> Generator[PcmChunk, None, None]:
        """Yield the sound, chunk by chunk; closing it stops all work for it.

        Raises:
            ModelError: `text_unspeakable`, or `failed`: nothing usable came of it.
        """
        if isinstance(text, WholeText):
            yield from self._spoken(text, 0)
            return
        feeder = TextFeeder(text)
        try:
            number = 0
            while (passage := feeder.next_passage()) is not None:
                yield from self._spoken(passage, number)
                number += 1
        finally:
            feeder.stop()

    def _spoken(self, passage: WholeText | FedPassage, number: int) -> Iterator[PcmChunk]:
        for attempt in range(_ATTEMPTS):
            heard = False
            try:
                with closing(self._submit(passage, (number, attempt)).chunks()) as chunks:
                    for samples in chunks:
                        heard = True
                        yield PcmChunk(samples)
            except BadSegmentError as error:
                self._report(error.reason)
                if heard and error.reason != "nan":
                    # What has been heard stands; the rest would not have been worth hearing.
                    return
                if heard or attempt + 1 == _ATTEMPTS:
                    raise ModelError("failed", f"the speech went wrong: {error}") from error
                self._report("retry")
            else:
                return

    def _submit(self, passage: WholeText | FedPassage, key: tuple[int, int]) -> SessionHandle:
        seed = np.random.SeedSequence(self._seed, spawn_key=key)
        if isinstance(passage, FedPassage):
            # Not `auto`: what is said would depend on how fast the text comes.
            handle = self._submitted(seed, "streamed")
            passage.feed(handle)
            return handle
        handle = self._submitted(seed, "whole")
        handle.append_text(passage.text, passage.ids)
        handle.end_text()
        return handle

    def _submitted(self, seed: np.random.SeedSequence, layout: TextLayout) -> SessionHandle:
        return self._engine.submit(self._prompt, seed=seed, layout=layout, tenant=self._tenant)
