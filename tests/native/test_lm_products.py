"""A linear layer gives the same with few rows as with many."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.native.lm.products import FewRowsLinear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 7), (4, 2), (8, 1), (9, 1), (3, 5)])
def test_rows_come_out_as_from_any_linear_layer(shape: tuple[int, int], *, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = FewRowsLinear(48, 80, bias=bias).requires_grad_(requires_grad=False)
    x = torch.randn(*shape, 48, generator=generator)
    found = layer(x)
    expected = functional.linear(x.double(), layer.weight.double(), layer_bias(layer))
    assert found.shape == (*shape, 80)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


def test_other_types_go_the_usual_way() -> None:
    layer = FewRowsLinear(16, 8).to(torch.bfloat16).requires_grad_(requires_grad=False)
    x = torch.ones(2, 16, dtype=torch.bfloat16)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


def layer_bias(layer: FewRowsLinear) -> torch.Tensor | None:
    return None if layer.bias is None else layer.bias.double()
