"""One request being spoken: text to speech tokens to sound, in one thread, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import TypeAlias

import numpy as np
import torch

from models.base import ModelError, PcmChunk, Samples
from models.cosyvoice.decoding import Decoder, LlmPrompt, bistream_layout
from models.cosyvoice.features import MEL_BANDS, VoiceFeatures
from models.cosyvoice.guards import AudioGuard, BadSegmentError, TokenGuard
from models.cosyvoice.lane import Lane
from models.cosyvoice.prompts import Prompt
from models.cosyvoice.request_text import StreamedPassage, StreamedText, WholeText
from models.cosyvoice.runtime import Official
from models.cosyvoice.sampling import TokenSampler
from models.cosyvoice.vocoding import FlowPrompt, Vocoder, open_vocoder

Report: TypeAlias = Callable[[str], None]
"""Takes the name of an incident."""

_ATTEMPTS = 2


class SpeechStream:
    """Speaks one text with one voice.

    Args:
        official: the loaded model.
        prompt: how it is to be spoken.
        features: the voice.
        seed: the same gives the same sound, whatever is spoken beside.
        report: is told of what the guards met.
    """

    def __init__(
        self,
        official: Official,
        prompt: Prompt,
        features: VoiceFeatures,
        *,
        seed: int,
        report: Report,
    ) -> None:
        self._official = official
        self._seed = seed
        self._report = report
        self._lane = Lane(official.device)
        with self._lane.computing():
            self._llm_prompt = _llm_prompt(official, prompt, features)
            self._flow_prompt = _flow_prompt(official, prompt, features)

    def chunks(self, text: WholeText | StreamedText) -> Generator[PcmChunk, None, None]:
        """Compute and yield the sound, chunk by chunk; closing it stops all work.

        Raises:
            ModelError: `text_unspeakable`, or `failed`: nothing usable came of it.
        """
        if isinstance(text, WholeText):
            yield from self._spoken(text, 0)
            return
        for number, passage in enumerate(text.passages()):
            yield from self._spoken(passage, number)

    def _spoken(self, passage: WholeText | StreamedPassage, number: int) -> Iterator[PcmChunk]:
        for attempt in range(_ATTEMPTS):
            heard = False
            try:
                for samples in self._attempt(passage, (number, attempt)):
                    heard = True
                    yield PcmChunk(samples)
            except BadSegmentError as error:
                self._report(error.reason)
                if heard and error.reason != "nan":
                    # What has been heard stands; the rest would not have been worth hearing.
                    if isinstance(passage, StreamedPassage):
                        passage.skip()
                    return
                if heard or attempt + 1 == _ATTEMPTS:
                    raise ModelError("failed", f"the speech went wrong: {error}") from error
                self._report("retry")
            else:
                return

    def _attempt(
        self, passage: WholeText | StreamedPassage, key: tuple[int, int]
    ) -> Iterator[Samples]:
        seed = np.random.SeedSequence(self._seed, spawn_key=key)
        token_seed, noise_seed = seed.spawn(2)
        official = self._official
        token_guard = TokenGuard(
            token_rate_hz=official.token_rate_hz, silent_tokens=official.silent_tokens
        )
        sampler = TokenSampler(
            official.vocabulary,
            official.sampling,
            seed=token_seed,
            device=official.device,
            first_fill=self._first_fill(passage),
        )
        decoder = Decoder(official, self._lane, sampler, token_guard.check)
        vocoder = open_vocoder(official.version, official.model, self._flow_prompt, noise_seed)
        sound_guard = AudioGuard(official.sample_rate_hz)
        with closing(decoder.tokens(self._llm_prompt, passage.read(token_guard))) as tokens:
            for samples in self._vocoded(tokens, vocoder):
                sound_guard.check(samples)
                yield samples

    def _first_fill(self, passage: WholeText | StreamedPassage) -> int | None:
        if isinstance(passage, WholeText):
            return None
        return bistream_layout(self._official, self._llm_prompt).first_fill

    def _vocoded(self, tokens: Iterator[int], vocoder: Vocoder) -> Iterator[Samples]:
        so_far: list[int] = []
        for token in tokens:
            so_far.append(token)
            if len(so_far) == vocoder.max_tokens:
                raise BadSegmentError("too_long")
            if len(so_far) >= vocoder.tokens_needed:
                with self._lane.computing():
                    samples = vocoder.next_chunk(so_far)
                yield samples
        if so_far:
            with self._lane.computing():
                samples = vocoder.last_chunk(so_far)
            yield samples


def _llm_prompt(official: Official, prompt: Prompt, features: VoiceFeatures) -> LlmPrompt:
    text = official.text_tokens(prompt.text) if prompt.text else []
    if prompt.tokens is not None:
        text += prompt.tokens.tolist()
    recording = features.speech_tokens if prompt.has_spoken_prompt else None
    embedding = _embedding(official, features)
    return LlmPrompt(
        text=_row(official, text),
        speech=_row(official, () if recording is None else recording.tolist()),
        embedding=embedding if prompt.has_timbre else embedding[:0],
    )


def _flow_prompt(official: Official, prompt: Prompt, features: VoiceFeatures) -> FlowPrompt:
    tokens, mel = features.speech_tokens, features.mel
    if not prompt.has_recording or tokens is None or mel is None:
        tokens, mel = np.empty(0, np.int32), np.empty((0, MEL_BANDS), np.float32)
    return FlowPrompt(
        tokens=_row(official, tokens.tolist()),
        mel=torch.tensor(mel, device=official.device).unsqueeze(0),
        embedding=_embedding(official, features),
    )


def _embedding(official: Official, features: VoiceFeatures) -> torch.Tensor:
    return torch.tensor(features.embedding, device=official.device).unsqueeze(0)


def _row(official: Official, ids: Sequence[int]) -> torch.Tensor:
    return torch.tensor([list(ids)], dtype=torch.int32, device=official.device)
