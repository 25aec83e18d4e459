"""Threads for what blocks: the jobs' store, recordings and files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Threads:
    """Some threads of their own, so that nobody else waits for a disk or for an encoder.

    Args:
        count: at most so many.
    """

    def __init__(self, count: int) -> None:
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="jobs")

    async def run(
        self,
        step: Callable[_Parameters, _Result],
        *arguments: _Parameters.args,
        **options: _Parameters.kwargs,
    ) -> _Result:
        """Do one step to its end: who is cancelled meanwhile may then close what it works with."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, lambda: step(*arguments, **options))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                # Nobody is there any more to hear of it.
                future.exception()
            raise

    def close(self) -> None:
        """End the threads, which have nothing to do any more."""
        self._executor.shutdown()
