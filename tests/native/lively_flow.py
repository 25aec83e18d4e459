"""A flow's weights in which everything matters, and jobs for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.native.flow.jobs import FlowJob

LOOKAHEAD = 3


def lively(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights such that nothing is nearly nothing.

    Random checkpoints have biases of 0, norms of 1, attention that is nearly even, and an estimator
    that is kept small: errors in any of these would hide.
    """
    generator = torch.Generator().manual_seed(3)
    new = {}
    for name, tensor in sorted(state.items()):
        weight = tensor.clone(memory_format=torch.contiguous_format)
        if weight.ndim == 1 and not name.endswith("inv_freq"):
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
        if any(part in name for part in ("to_q.", "to_k.", "linear_q.", "linear_k.")):
            weight *= 3
        if any(part in name for part in ("final_proj.weight", "proj_out.weight")):
            weight *= 20
        new[name] = weight
    return new


def with_flow(checkpoint: Path, directory: Path, state: Mapping[str, torch.Tensor]) -> Path:
    """A checkpoint with another flow.pt."""
    directory.mkdir()
    for path in checkpoint.iterdir():
        if path.name != "flow.pt":
            (directory / path.name).symlink_to(path)
    torch.save(dict(state), directory / "flow.pt")
    return directory


def job(
    n_prompt: int, n_tokens: int, *, final: bool = False, done: int = 0, seed: int = 0
) -> FlowJob:
    """A job whose stream has a prompt and so many tokens, of which `done` are frames already."""
    random = np.random.default_rng([seed, n_prompt])
    mel = random.standard_normal((2 * n_prompt, 80)).astype(np.float32)
    embedding = random.standard_normal(192).astype(np.float32)
    prompt = random.integers(0, 6561, n_prompt)
    tokens = np.concatenate([prompt, random.integers(0, 6561, 1000)[:n_tokens]])
    return FlowJob(
        tokens=tokens.astype(np.int32),
        prompt_mel=torch.from_numpy(mel),
        embedding=torch.from_numpy(embedding),
        first_new_frame=2 * (n_prompt + done),
        final=final,
    )


def upstream_mel(flow: Any, job: FlowJob, *, streaming: bool) -> torch.Tensor:
    """The new frames of a job, by the official package's flow."""
    tokens = torch.from_numpy(job.tokens)[None]
    n_prompt = len(job.prompt_mel) // 2
    mel, _ = flow.inference(
        token=tokens[:, n_prompt:],
        token_len=torch.tensor([tokens.shape[1] - n_prompt]),
        prompt_token=tokens[:, :n_prompt],
        prompt_token_len=torch.tensor([n_prompt]),
        prompt_feat=job.prompt_mel[None],
        prompt_feat_len=torch.tensor([len(job.prompt_mel)]),
        embedding=job.embedding[None],
        streaming=streaming,
        finalize=job.final,
    )
    return mel[0, :, job.first_new_frame - len(job.prompt_mel) :]


SAMPLES = {
    "chunk": job(22, 11, done=3),
    "last": job(22, 9, done=4, final=True),
    "full": job(22, 9, done=4, final=True),
}
"""Small, and more than one chunk of the flow."""
