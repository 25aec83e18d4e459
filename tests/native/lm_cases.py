"""Language models whose every weight matters, and what they are asked to say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from models.cosyvoice.prompts import END_OF_PROMPT_ID
from models.cosyvoice.sampling import SamplingRule
from models.native.lm.engine import LmEngine
from models.native.lm.events import Ended, LmEvent, NotFinite, TokenDrawn, TooLong
from models.native.lm.sequence import LmPrompt
from models.native.lm.session import LmSession

GREEDY = SamplingRule(top_k=1, tau_r=2.0)
"""The likeliest token, however often."""
N_TEXT = 500
"""Ids of text below this are known to the tiny models of both versions."""


def scrambled(checkpoint: Path, directory: Path, seed: int = 1) -> Path:
    """A copy with weights that leave nothing out: the maker's have biases of 0, norms of 1, a head
    that averages, and an end token that counts.
    """
    shutil.copytree(checkpoint, directory)
    random = np.random.default_rng(seed)
    state = torch.load(directory / "llm.pt", weights_only=True)
    for name in sorted(state):
        if name == "llm.model.lm_head.weight":
            continue
        shape = tuple(state[name].shape)
        values = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))
        state[name] = _scaled(name, values).to(state[name].dtype)
    state["llm.model.lm_head.weight"] = state["llm.model.model.embed_tokens.weight"]
    torch.save(state, directory / "llm.pt")
    return directory


def _scaled(name: str, values: torch.Tensor) -> torch.Tensor:
    if "norm" in name:
        return 1 + 0.2 * values
    if name == "llm_decoder.weight":
        return 2 * values / values.shape[1] ** 0.5
    if "_proj" in name and values.ndim == 2:
        return 1.5 * values / values.shape[1] ** 0.5
    return 0.3 * values if values.ndim == 1 else values


def text(n_tokens: int, seed: int = 0) -> list[int]:
    """Ids of a text."""
    return np.random.default_rng([1, seed]).integers(0, N_TEXT, n_tokens).tolist()


def prompt(version: int, n_text: int = 0, n_speech: int = 0, seed: int = 0) -> LmPrompt:
    """A transcript and a recording of so many tokens; version 3 has an instruction before it."""
    random = np.random.default_rng([2, seed])
    instruction = [11, 12, 13, END_OF_PROMPT_ID] if version == 3 else []
    return LmPrompt(
        text=instruction + random.integers(0, N_TEXT, n_text).tolist(),
        speech=random.integers(0, 6561, n_speech).tolist(),
    )


def run(engine: LmEngine, *sessions: LmSession) -> list[list[int]]:
    """The tokens of sessions that are computed together until none can go on."""
    spoken: dict[LmSession, list[int]] = {session: [] for session in sessions}
    while any(session.is_ready for session in sessions):
        for event in engine.tick(sessions):
            if isinstance(event, TokenDrawn):
                spoken[event.session].append(event.token)
    return list(spoken.values())


def is_last(event: LmEvent) -> bool:
    """Nothing follows for its session."""
    return isinstance(event, Ended | TooLong | NotFinite)
