"""Decodes in a vLLM engine that all streams share."""

from __future__ import annotations

import importlib
import uuid as unique_ids
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch


class VllmSteps:
    """One stream's request; stands in for `inference_wrapper` of the official language model.

    Works around defect 13 (issue #704 and others): upstream cannot abort a request, keeps only the
    last token of an output, and takes no seed. As with upstream, vLLM samples from the best tokens
    without looking at repetitions.

    Args:
        llm: the official language model, with upstream's engine `vllm`, its `lock` and the table
            `vllm_output_queue`.
        seed: of the stream.
    """

    def __init__(self, llm: Any, seed: int) -> None:  # noqa: ANN401 - upstream has no types
        self._llm = llm
        self._seed = seed

    def __call__(
        self,
        lm_input: torch.Tensor,
        sampling: int,
        min_len: int,
        max_len: int,
        uuid: str = "",  # noqa: ARG002 - upstream's signature; a request is named here
    ) -> Iterator[int]:
        """Yield speech tokens until the model ends; closing it aborts the request."""
        request = unique_ids.uuid4().hex
        outputs: deque[Any] = deque()
        self._open(request, outputs, lm_input, self._parameters(sampling, min_len, max_len))
        try:
            yield from self._new_tokens(outputs)
        finally:
            with self._llm.lock:
                del self._llm.vllm_output_queue[request]
                self._llm.vllm.abort_request([request])

    def _parameters(self, top_k: int, min_tokens: int, max_tokens: int) -> Any:  # noqa: ANN401
        # Only where it is asked for.
        return importlib.import_module("vllm").SamplingParams(
            top_k=top_k,
            seed=self._seed,
            stop_token_ids=self._llm.stop_token_ids,
            min_tokens=min_tokens,
            max_tokens=max_tokens,
        )

    def _open(
        self,
        request: str,
        outputs: deque[Any],
        lm_input: torch.Tensor,
        parameters: Any,  # noqa: ANN401
    ) -> None:
        embeddings = lm_input.squeeze(0).to(torch.bfloat16)
        if embeddings.is_cuda:
            # The engine reads them on a CUDA stream of its own.
            torch.cuda.current_stream(embeddings.device).synchronize()
        with self._llm.lock:
            self._llm.vllm_output_queue[request] = outputs
            self._llm.vllm.add_request(request, {"prompt_embeds": embeddings}, parameters)

    def _new_tokens(self, outputs: deque[Any]) -> Iterator[int]:
        n_seen, finished = 0, False
        while not finished:
            self._wait_for(outputs)
            output = outputs.popleft()
            tokens, finished = output.outputs[0].token_ids, output.finished
            for token in tokens[n_seen:]:
                if token in self._llm.stop_token_ids:
                    return
                yield token
            n_seen = len(tokens)

    def _wait_for(self, outputs: deque[Any]) -> None:
        """Step the engine, for all streams, until there is something for this one."""
        while not outputs:
            with self._llm.lock:
                if outputs:  # another stream has stepped meanwhile
                    return
                for output in self._llm.vllm.step():
                    queue = self._llm.vllm_output_queue.get(output.request_id)
                    if queue is not None:
                        queue.append(output)
