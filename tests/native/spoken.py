"""Native models on tiny checkpoints that speak for some seconds, and what can be seen of them."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.base import Samples, SynthesisRequest, Voice
from models.cosyvoice.features import VoiceFeatures
from models.native.lm.events import LmEvent, TokenDrawn
from models.native.lm.session import LmSession
from models.native.model import NativeModel
from models.native.session import Session
from models.random_checkpoint.maker import make

RATES = {2: 4.0, 3: 3.2}
"""Speech tokens for each token of text, prompts included, after which tiny checkpoints end."""
TEXT = "你好。"
LONG = "你好。" * 4
"""Spoken in three chunks, or four."""
VOICE = "中文女"
LOOKAHEAD = 3


def tiny_checkpoint(version: int, folder: Path) -> Path:
    """A checkpoint that speaks some seconds."""
    return make(f"cosyvoice{version}-tiny", folder, rate=RATES[version])


def recorded(seed: int = 7, transcript: str = "希望你好。", n_tokens: int = 60) -> VoiceFeatures:
    """A voice with a recording of so many speech tokens."""
    random = np.random.default_rng(seed)
    return VoiceFeatures(
        embedding=random.normal(size=192).astype(np.float32),
        speech_tokens=random.integers(100, 4000, n_tokens).astype(np.int32),
        mel=random.normal(size=(2 * n_tokens, 80)).astype(np.float32),
        transcript=transcript,
        language="cmn",
    )


def opened(directory: Path, **options: Any) -> NativeModel:
    """A model with the clones `clone` and `guilty`."""
    options = {"device": "cpu", "slots": 8, "max_length": 2048, **options}
    model = NativeModel(directory=str(directory), **options)
    # In place of what ends a worker, and would end pytest.
    model._engine._on_broken = traceback.print_exception
    for name, seed in (("clone", 7), ("guilty", 8)):
        data = recorded(seed).to_bytes(model.capabilities.clone_format)
        model.add_voice(Voice(name=name, language="cmn", kind="clone"), data)
    return model


def open_stream(
    model: NativeModel, text: str | Iterator[str], voice: str = VOICE, seed: int | None = 1
) -> Iterator[Any]:
    return model.synthesize(SynthesisRequest(voice=voice, seed=seed), text)


def speak(
    model: NativeModel, text: str | Iterator[str], voice: str = VOICE, seed: int = 1
) -> Samples:
    """All of a text's sound."""
    chunks = [chunk.samples for chunk in open_stream(model, text, voice, seed)]
    return np.concatenate(chunks) if chunks else np.empty(0, np.float32)


def speak_together(
    model: NativeModel, requests: Sequence[tuple[str | Iterator[str], str, int]]
) -> list[Samples | Exception]:
    """What requests become that begin at once, each in a thread of its own."""
    found: list[Samples | Exception] = [ValueError("has not ended")] * len(requests)
    begin = threading.Barrier(len(requests))

    def run(number: int) -> None:
        begin.wait()
        try:
            found[number] = speak(model, *requests[number])
        except Exception as error:  # noqa: BLE001 - it is looked at by who asked
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


class Watch:
    """What the language model of a model does, by the seeds of its sessions."""

    def __init__(self, model: NativeModel, monkeypatch: Any) -> None:
        self.tokens: dict[int, list[int]] = {}
        self.ticks: list[list[int]] = []
        self.steps_before_sound: list[int] = []
        self._seeds: dict[int, int] = {}
        self._open: list[LmSession] = []
        lm = model._engine._stages.lm
        original_open, original_tick = lm.open, lm.tick

        def open_session(prompt: Any, *, seed: int, **more: Any) -> LmSession:
            session = original_open(prompt, seed=seed, **more)
            self._open.append(session)  # so that its identity is not used again
            self._seeds[id(session)] = seed
            self.tokens[seed] = []
            return session

        def tick(sessions: Iterable[LmSession]) -> list[LmEvent]:
            sessions = list(sessions)
            self.ticks.append([self._seeds[id(session)] for session in sessions])
            events = original_tick(sessions)
            for event in events:
                if isinstance(event, TokenDrawn):
                    self.tokens[self._seeds[id(event.session)]].append(event.token)
            return events

        original_sounded = Session.sounded

        def sounded(session: Session, n_tokens: int, *more: Any) -> None:
            if session._n_hops == 0:
                self.steps_before_sound.append(sum(session.token_seed in t for t in self.ticks))
            original_sounded(session, n_tokens, *more)

        monkeypatch.setattr(lm, "open", open_session)
        monkeypatch.setattr(lm, "tick", tick)
        monkeypatch.setattr(Session, "sounded", sounded)

    def take_tokens(self) -> dict[int, list[int]]:
        """What was said since the last call."""
        tokens, self.tokens = self.tokens, {}
        return tokens
