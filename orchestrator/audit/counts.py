"""Recounts of what pruning kept: weights by exact fractions, multiply-accumulates by torch's FLOP counter."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from search_spaces import Trial

SHORT = 7  # a compression with at most so many significant digits is taken as written
TYPED = 9  # most significant digits of a density or sparsity from which a compression is computed
CLOSE = Fraction(1, 10**11)  # relative: compressions are recorded to 12 digits


def exactly_kept(n: int, compression: float) -> int:
    """Return how many of `n` weights a compression keeps: n - floor((1 - 1/compression) n), in exact arithmetic."""
    pruned = (1 - typed_density(compression)) * n
    return n - pruned.numerator // pruned.denominator


def typed_density(compression: float) -> Fraction:
    """Return the density that a user meant: 1/compression as written, or the shortest decimal that it came from.

    Densities and sparsities are recorded as compressions: 0.3 as 3.33333333333.
    """
    written = Fraction(repr(compression))
    if Fraction(f"{compression:.{SHORT}g}") == written:
        return 1 / written
    for digits in range(1, TYPED + 1):
        for decimal in (Fraction(f"{1 / compression:.{digits}g}"), 1 - Fraction(f"{1 - 1 / compression:.{digits}g}")):
            if abs(decimal * written - 1) < CLOSE:
                return decimal
    return 1 / written


def asked(trial: Trial, sizes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return how many weights the trial was asked to keep: by parameter, or under "" for all together.

    `sizes` are the sizes of the layers in each parameter, three for attention's `in_proj_weight`; under scope "row",
    those of its rows. The result is empty
    where the count is not given by the compression: whole filters, n:m blocks, kappa, given masks, a dense network.
    """
    if trial.pruner == "dense" or trial.granularity != "weight" or trial.kappa or trial.mask:
        return {}
    if trial.scope in ("layer", "row"):
        return {name: sum(exactly_kept(n, trial.compression) for n in each) for name, each in sizes.items()}
    return {"": exactly_kept(sum(map(sum, sizes.values())), trial.compression)}


aten = torch.ops.aten
UNKNOWN = (aten._trilinear, aten.mv, aten.addmv, aten.dot, aten.vdot, aten.mkldnn_rnn_layer, aten._cudnn_rnn)


@dataclass
class Macs:
    """Multiply-accumulates for one input, in total and for each weight that a product uses unchanged."""

    total: int = 0  # of all products, without biases
    bias: int = 0  # one for each output to which a bias is added
    # By parameter and range of its flattened elements: attention uses one third of a parameter at a time.
    by_weight: dict[tuple[str, int, int], int] = field(default_factory=dict)

    @property
    def dense(self) -> int:
        """Return all multiply-accumulates, as `model/macs` counts them."""
        return self.total + self.bias

    def pruned(self, name: str, mask: Tensor) -> Fraction | None:
        """Return the multiply-accumulates of the pruned weights of a parameter; None if they are not known."""
        parts = [(start, end, macs) for (own, start, end), macs in self.by_weight.items() if own == name]
        gone = (~mask).flatten()
        found = [Fraction(int(gone[start:end].sum()) * macs, end - start) for start, end, macs in parts]
        return sum(found, Fraction(0)) if found else None

    def kept(self, masks: Mapping[str, Tensor]) -> Fraction | None:
        """Return all but those of pruned weights; None if some are unknown as weights are used in another form."""
        gone = [self.pruned(name, mask) for name, mask in masks.items()]
        if any(each is None for each in gone) and self.total > sum(self.by_weight.values()):
            return None
        return self.dense - sum((each for each in gone if each is not None), Fraction(0))


def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> Macs:
    """Count the multiply-accumulates of one forward pass in eval mode, for one input of `input_shape` (C, H, W).

    It counts the products that `torch.utils.flop_counter` knows; attention and recurrent layers are split into them.

    Raises:
        ValueError: if the library's total differs from the sum of the operations counted here.
    """
    first = next(model.parameters())
    x = torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device)
    with torch.no_grad(), _taken_apart(), FlopCounterMode(display=False) as library:
        model(x)
    seen = _Products(model)
    with torch.no_grad(), _taken_apart(), seen:
        model(x)
    if 2 * seen.macs.total != library.get_total_flops():
        raise ValueError(f"torch counts {library.get_total_flops()} FLOPs, but the audit counts {2 * seen.macs.total}")
    return seen.macs


@contextmanager
def _taken_apart() -> Iterator[None]:
    """Run attention and recurrent layers as the matrix products that they consist of, inside the context."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # setting oneDNN's flags warns of TF32 on missing GPUs
            with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counter of products by the library's formulas, for the parameter whose memory each product reads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = Macs()
        self._names = {_memory(parameter): name for name, parameter in model.named_parameters()}
        self._outputs: dict[int, Tensor] = {}  # of products, by address; held so that no address is reused

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in flop_registry and func._overloadpacket not in flop_registry:
            parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if func._overloadpacket in UNKNOWN:
            raise ValueError(f"torch's counter has no formula for {func}")
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self._count(formula(*args, **kwargs, out_val=out) // 2, args, out)
        elif func._overloadpacket in (aten.add, aten.add_):
            self._count_added(args, out)
        return out

    def _count_added(self, args: Any, out: Tensor) -> None:
        """Count a bias that is added after the product, as happens for rows that are not contiguous."""
        memory = [_memory(each) for each in args if isinstance(each, Tensor)]
        if any(each in self._outputs for each in memory) and any(each in self._names for each in memory):
            self.macs.bias += out.numel()

    def _count(self, macs: int, args: Any, out: Tensor) -> None:
        self.macs.total += macs
        self._outputs[_memory(out)] = out
        tensors = [each for each in tree_leaves(args) if isinstance(each, Tensor)]
        bias = next((each for each in tensors if each.dim() == 1), None)
        if bias is not None:
            self.macs.bias += out.numel()
        weight = next((each for each in tensors if each.dim() > 1 and _memory(each) in self._names), None)
        if weight is not None:
            part = (self._names[_memory(weight)], *_extent(weight))
            self.macs.by_weight[part] = self.macs.by_weight.get(part, 0) + macs


def _extent(weight: Tensor) -> tuple[int, int]:
    """Return where the elements of a parameter, or of a slice of it, begin and end in its memory."""
    start = int(weight.storage_offset())
    return start, start + 1 + sum((n - 1) * step for n, step in zip(weight.shape, weight.stride(), strict=True))


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
