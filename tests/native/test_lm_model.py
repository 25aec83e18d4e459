"""The language model computes what the official one does, in slots, in pieces and in batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lm_cases import scrambled

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.runtime import Official
from models.native.lm.key_values import KeyValues
from models.native.lm.model import LmModel, load_lm

LENGTH = 60


@pytest.fixture(scope="module")
def directory(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scrambled(checkpoint, tmp_path_factory.mktemp("lm") / "scrambled")


@pytest.fixture(scope="module")
def model(directory: Path) -> LmModel:
    return load_lm(Checkpoint.open(directory))


@pytest.fixture(scope="module")
def reference(directory: Path, load_reference: Callable[[Path], Official]) -> Any:
    return load_reference(directory).model.llm


class Slots:
    """A model with room for eight sequences."""

    def __init__(self, model: LmModel) -> None:
        self.model = model
        self.key_values: KeyValues = model.new_key_values(n_slots=8, max_length=2 * LENGTH)
        self.lengths = [0] * 9

    def append(
        self, pieces: dict[int, torch.Tensor], n_rows: int = 0, n_keys: int = 2 * LENGTH
    ) -> dict[int, torch.Tensor]:
        """Logits by slot after pieces of (t, width); the batch is padded to `n_rows`."""
        spare = self.key_values.spare_slot
        slots = list(pieces) + [spare] * (n_rows - len(pieces))
        lengths = [len(piece) for piece in pieces.values()] + [0] * (n_rows - len(pieces))
        longest, width = max(lengths), self.model.spec.body.width
        embeddings = torch.full((len(slots), longest, width), 7.0, dtype=self.model.dtype)
        for row, piece in enumerate(pieces.values()):
            embeddings[row, : len(piece)] = piece
        starts = [self.lengths[slot] for slot in slots]
        with torch.inference_mode():
            logits = self.model.append(
                self.key_values,
                torch.tensor(slots),
                torch.tensor(starts),
                embeddings,
                torch.tensor(lengths),
                n_keys=n_keys,
            )
        for slot, piece in pieces.items():
            self.lengths[slot] += len(piece)
        return dict(zip(pieces, logits, strict=False))


@pytest.fixture
def slots(model: LmModel) -> Slots:
    return Slots(model)


def sequence(model: LmModel, seed: int, length: int = LENGTH) -> torch.Tensor:
    """Text, speech and control tokens, as the model reads them: (length, width)."""
    random, ids = np.random.default_rng(seed), model.spec.inputs
    drawn = random.integers(0, 500, length).tolist()
    speech = random.integers(ids.n_text, ids.n_text + 6561, length).tolist()
    drawn[length // 3 :] = speech[length // 3 :]
    drawn[0], drawn[length // 3] = ids.begin, ids.task
    with torch.inference_mode():
        return model.embed(torch.tensor(drawn))


def expected(reference: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Official logits of every position, (length, n_outputs)."""
    with torch.inference_mode():
        hidden, _ = reference.llm.forward_one_step(inputs.unsqueeze(0))
        return reference.llm_decoder(hidden)[0]


def test_inputs_are_those_of_the_official_tables(
    version: int, model: LmModel, reference: Any
) -> None:
    ids = model.spec.inputs
    # Not every copy of the package names the ids.
    control = (
        reference.llm_embedding.weight[:2]
        if version == 2
        else reference.speech_embedding.weight[[6561, 6563]]
    )
    with torch.inference_mode():
        ours = model.embed(
            torch.tensor([[ids.begin, 0, 499], [ids.task, ids.speech(0), ids.speech(6560)]])
        )
        theirs = (
            control[0],
            *reference.llm.model.model.embed_tokens.weight[[0, 499]].float(),
            control[1],
            *reference.speech_embedding.weight[[0, 6560]],
        )
    assert torch.equal(ours.reshape(6, -1), torch.stack(theirs))


@pytest.mark.parametrize(
    "sizes", [(60,), (1,) * 60, (20, *(1,) * 15, 5, *(1,) * 15, 5)], ids=["whole", "steps", "turns"]
)
def test_logits_are_the_official_ones(
    slots: Slots, model: LmModel, reference: Any, sizes: tuple[int, ...]
) -> None:
    inputs = sequence(model, 1)
    theirs = expected(reference, inputs)
    assert theirs.std() > 0.5
    end = 0
    for piece in inputs.split(sizes):
        end += len(piece)
        ours = slots.append({3: piece})[3]
        assert (ours - theirs[end - 1]).abs().max() < 1e-4
        difference = ours.log_softmax(0) - theirs[end - 1].log_softmax(0)
        assert difference.abs().max() < 1e-4


def test_a_sequence_does_not_depend_on_its_batch(model: LmModel) -> None:
    """Prefills of different lengths beside each other, then steps and pieces, then padding."""
    inputs = {slot: sequence(model, slot, 20 + 5 * slot) for slot in range(8)}
    alone, together = Slots(model), Slots(model)
    cuts = {slot: [0, 4 + 3 * slot, 5 + 3 * slot, 10 + 3 * slot] for slot in range(8)}
    for part in range(3):
        pieces = {slot: inputs[slot][cut[part] : cut[part + 1]] for slot, cut in cuts.items()}
        found = together.append(pieces, n_rows=16)
        for slot in range(8):
            single = alone.append({slot: pieces[slot]}, n_keys=64)[slot]
            assert (found[slot] - single).abs().max() < 1e-5


def test_what_a_slot_had_before_is_forgotten(slots: Slots, model: LmModel) -> None:
    inputs = sequence(model, 1, 30)
    fresh = slots.append({0: inputs})[0]
    slots.append({5: sequence(model, 2)})
    slots.lengths[5] = 0
    assert (slots.append({5: inputs})[5] - fresh).abs().max() < 1e-5


def test_padding_reaches_no_slot(slots: Slots, model: LmModel) -> None:
    before = slots.key_values.layers.clone()
    slots.append({1: sequence(model, 1, 3), 2: sequence(model, 2, 7)}, n_rows=4)
    changed = (slots.key_values.layers != before).any(dim=0).any(dim=-1).any(dim=1)
    assert changed[:8, :-1].nonzero().tolist() == [
        *([1, position] for position in range(3)),
        *([2, position] for position in range(7)),
    ]


def test_a_full_slot(slots: Slots, model: LmModel, reference: Any) -> None:
    inputs = sequence(model, 3, 2 * LENGTH)
    slots.append({0: inputs[:-5]})
    ours = slots.append({0: inputs[-5:], 1: inputs[:9]})[0]
    assert (ours - expected(reference, inputs)[-1]).abs().max() < 1e-4


def test_half_precision_is_near(directory: Path, model: LmModel) -> None:
    half = load_lm(Checkpoint.open(directory), dtype=torch.bfloat16)
    inputs = sequence(model, 1)
    exact = Slots(model).append({0: inputs})[0].log_softmax(0)
    rounded = Slots(half).append({0: inputs.bfloat16()})[0].log_softmax(0)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().mean() < 0.2 * exact.std()
