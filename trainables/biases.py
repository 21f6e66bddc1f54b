"""Biases that a batch norm takes away again: they only decay, instead of following the rounding of their gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from pruners.channels import Layer
from trainables.folding import Pair


@contextmanager
def still_biases(model: nn.Module, pairs: list[Pair]) -> Iterator[None]:
    """While this lasts, biases of layers have gradients of exactly zero where a batch norm in train mode follows.

    `pairs` name layers and the norms that alone read them (`trainables.folding.foldable`). The norm takes the mean
    away, and the bias with it, so that its gradient is zero; but computed it is rounding noise. Adam makes whole steps
    of that, and in a channel that is otherwise constant the norm makes a signal of it: then a network trained masked
    and the same one compacted part.
    """
    found = [(model.get_submodule(layer), model.get_submodule(norm)) for layer, norm in pairs]
    held: list[tuple[Any, nn.Module]] = [
        pair for pair in found if isinstance(pair[0], Layer) and pair[0].bias is not None
    ]
    for layer, norm in held:
        layer.forward = partial(_forward, layer, norm)
    try:
        yield
    finally:
        for layer, _ in held:
            del layer.forward


def _forward(layer: Any, norm: nn.Module, x: Tensor) -> Tensor:
    bias = layer.bias
    if norm.training:
        bias = bias.detach() + bias[:0].sum()  # the optimizer is to find a gradient: one of zeros
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(x, layer.weight, bias)
    result: Tensor = layer._conv_forward(x, layer.weight, bias)
    return result
