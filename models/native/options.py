"""How the native engine is to be run; what the front can check without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from models.cosyvoice.engine_options import EngineOptions

FinalChunk: TypeAlias = Literal["exact", "upstream", "one_chunk"]
"""What the last chunk of a stream sees: `models.native.flow.jobs.FinalPolicy`."""
Hops: TypeAlias = Literal["slack", "growing"]
"""How long chunks are: as long as deadlines allow, or 25, 50 and 100 tokens, as upstream's."""
Admission: TypeAlias = Literal["real_time", "slots"]
"""How many streams are taken at once: as many as the device computes in real time, or all slots."""

LEAST_LENGTH = 256
MOST_MEMORY_GIB = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeOptions:
    """What the operator chose; see `NativeModel`."""

    device: str = "auto"
    bf16: bool = False
    final_chunk: FinalChunk = "exact"
    hops: Hops = "slack"
    max_length: int = 4096
    graphs: bool = True
    admission: Admission | None = None
    flow_memory_gib: float | None = None

    def check_values(self) -> None:
        """See that the options are in range.

        Raises:
            ValueError: they are not.
        """
        self.device_options.check_values()
        if self.final_chunk not in get_args(FinalChunk):
            raise ValueError(f"final_chunk {self.final_chunk!r}: one of {get_args(FinalChunk)}")
        if self.hops not in get_args(Hops):
            raise ValueError(f"hops {self.hops!r}: one of {get_args(Hops)}")
        if self.admission not in {None, *get_args(Admission)}:
            raise ValueError(f"admission {self.admission!r}: one of {get_args(Admission)}")
        if self.flow_memory_gib is not None and not 0 <= self.flow_memory_gib <= MOST_MEMORY_GIB:
            raise ValueError(f"flow_memory_gib {self.flow_memory_gib}: 0 to {MOST_MEMORY_GIB}")
        if self.max_length < LEAST_LENGTH:
            raise ValueError(f"max_length {self.max_length}: at least {LEAST_LENGTH}")

    @property
    def device_options(self) -> EngineOptions:
        """Those that both runtimes have."""
        return EngineOptions(device=self.device)
