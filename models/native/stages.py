"""The parts of a checkpoint, loaded on one device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.sampling import torch_seed
from models.native.device.cuda import open_lane
from models.native.device.graphs import Graphs
from models.native.flow.flow import Flow
from models.native.inbox import Begin
from models.native.lm.engine import LmEngine
from models.native.lm.model import load_lm
from models.native.options import NativeOptions
from models.native.room import flow_memory_bytes
from models.native.session import Session, Voiceprint
from models.native.vocoder.vocoder import Vocoder

_PAGES_OF_SESSION = 90
"""Of use at most: a page is a second, passages are shorter than a minute, prompts than 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """Language model, flow and vocoder.

    Each computes in the lane of its graphs: the language model in one, the others in a second.
    """

    lm: LmEngine
    flow: Flow
    vocoder: Vocoder
    graphs: Graphs
    """Of flow and vocoder."""

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        options: NativeOptions,
        device: torch.device,
        *,
        n_sessions: int,
    ) -> Stages:
        """Load a checkpoint.

        Raises:
            CheckpointError: its files do not fit each other, or this engine.
            OSError: they cannot be read.
        """
        # Decoding goes first: a batch of chunks takes as long as many steps, none of which may wait
        # for it.
        lm_graphs = Graphs(open_lane(device, urgent=True), enabled=options.graphs)
        graphs = Graphs(open_lane(device), enabled=options.graphs)
        stages = cls(
            lm=LmEngine(
                load_lm(checkpoint, device=device),
                n_slots=n_sessions,
                max_length=options.max_length,
                graphs=lm_graphs,
            ),
            flow=Flow.open(
                checkpoint,
                device,
                torch.bfloat16 if options.bf16 else torch.float32,
                final_policy=options.final_chunk,
                graphs=graphs,
                memory_bytes=flow_memory_bytes(options.flow_memory_gib, device),
                most_pages=n_sessions * _PAGES_OF_SESSION,
            ),
            vocoder=Vocoder.open(checkpoint, device, graphs=graphs),
            graphs=graphs,
        )
        if device.type == "cuda":
            # Lanes do not wait for what loading has asked the device for.
            torch.cuda.synchronize(device)
        return stages

    @property
    def device(self) -> torch.device:
        """Of all."""
        return self.flow.device

    def new_session(self, number: int, begin: Begin, now_s: float) -> Session:
        """A session of which nothing has been computed.

        Args:
            number: its own.
            begin: what is asked for.
            now_s: the clock.
        """
        token_seed, noise_seed = begin.seed.spawn(2)
        lane, prompt = self.graphs.lane, begin.prompt
        with lane.current():
            voice = Voiceprint(
                tokens=prompt.tokens,
                mel=lane.send(torch.tensor(prompt.mel)),
                embedding=lane.send(torch.tensor(prompt.embedding)),
            )
            vocoder = self.vocoder.new_state(noise_seed)
        return Session(
            number,
            begin,
            token_seed=torch_seed(token_seed),
            voice=voice,
            spec=self.flow.spec,
            vocoder=vocoder,
            memory=self.flow.remember(prompt.tokens, prompt.mel, prompt.embedding),
            sample_rate_hz=self.vocoder.spec.sample_rate_hz,
            now_s=now_s,
        )
