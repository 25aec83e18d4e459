"""A server whose model takes as long as its audio lasts, and counts what it computes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Self

from server_process import ServerProcess
from sine_model import computed_chunks

CHUNK_S = 0.1
"""Audio per chunk, and the time that computing it takes."""


class SlowSine:
    """The server, on the sine model.

    Args:
        folder: for its log and its count.
    """

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "chunks"
        options = {"compute_delay_s": CHUNK_S, "counter_path": str(self._counter)}
        models = [{"name": "sine", "kind": "sine_model:SineModel", "options": options}]
        self.server = ServerProcess(folder / "log", models=json.dumps(models))

    @property
    def computed_chunks(self) -> int:
        """Since the server started."""
        return computed_chunks(self._counter)

    async def stands_still(self) -> None:
        """At most the chunk under way is still computed."""
        await asyncio.sleep(1.5 * CHUNK_S)
        before = self.computed_chunks
        await asyncio.sleep(4 * CHUNK_S)
        assert self.computed_chunks == before

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.__exit__(kind, error, trace)
