"""The loads of one bench, on one server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from server.bench.capacity import Capacity, Goal, Search, Trial
from server.bench.load import LoadShape
from server.bench.memory import Churn
from server.bench.process import MeasuredProcess
from server.bench.results import LoadFigures
from server.bench.session import Script
from server.bench.trial import Recording, churn, measure
from server.commands.options import ServerAddress

_PATIENCE_S = 60.0
_PATIENCE_FACTOR = 2.0
"""A session may take so many times what it took alone, for each that is there with it."""
_GUESSED_STREAMS = 16
"""In an open loop, whose number is not known before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """Runs loads.

    Args:
        address: the server.
        script: what every session does.
        recording: of a session that had the server to itself.
        process: the server's, None if it is not ours to measure.
        cores: of this machine.
        seed: of arrivals.
    """

    address: ServerAddress
    script: Script
    recording: Recording
    process: MeasuredProcess | None
    cores: int
    seed: int

    async def run(self, shape: LoadShape, *, hasty: bool = False) -> LoadFigures:
        """Run one load.

        Args:
            shape: when sessions come.
            hasty: they end as soon as all has come.
        """
        script = self._patient(shape)
        if hasty:
            script = replace(script, consume="fast")
        return await measure(self.address, script, shape, self.process, self.cores)

    async def churn(self, shape: LoadShape, process: MeasuredProcess) -> Churn:
        """Let sessions come and go, some of them rudely."""
        return await churn(self.address, self._patient(shape), shape, process)

    async def capacity(self, goal: Goal, say: Callable[[str], None]) -> Capacity:
        """Look for the largest number of sessions at once that holds."""
        session_s = len(self.recording.audio) / self.script.audio_bytes_per_s

        async def run(trial: Trial) -> LoadFigures:
            closed = trial.loop == "closed"
            # Not in step: they begin at random, within the length of one of them.
            ramp_s = min(session_s, goal.step_s / 2) if closed and trial.streams > 1 else 0.0
            shape = LoadShape(
                rate_per_s=trial.rate_per_s,
                sessions=trial.streams if closed else 0,
                duration_s=goal.step_s,
                ramp_s=ramp_s,
                random_ramp=True,
                seed=self.seed,
            )
            return await self.run(shape, hasty=not trial.real_time)

        return await Search(goal, run, say).find()

    def _patient(self, shape: LoadShape) -> Script:
        """The script, with patience enough for a machine of any speed."""
        record = self.recording.record
        alone_s = record.completed_s - record.first_text_s
        streams = shape.sessions or _GUESSED_STREAMS
        return replace(
            self.script, patience_s=max(_PATIENCE_S, _PATIENCE_FACTOR * streams * alone_s)
        )
