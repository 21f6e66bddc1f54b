"""Count again what pruning kept: weights by exact fractions, multiply-accumulates by torch's own counter."""

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

LONG = 9  # significant digits of a number that nobody types: 3.33333333333 is a density of 0.3


def kept_of(n: int, compression: float) -> int:
    """Return how many of `n` weights a compression keeps: n - floor((1 - 1/compression) n), in exact arithmetic."""
    pruned = (1 - typed_density(compression)) * n
    return n - pruned.numerator // pruned.denominator


def typed_density(compression: float) -> Fraction:
    """Return the density that a user meant: of the decimals that give this compression, the shortest.

    Densities and sparsities are recorded as compressions: 0.3 as 3.33333333333.
    """
    if len(repr(compression).replace(".", "").strip("0")) <= LONG:
        return 1 / Fraction(repr(compression))
    density = f"{1 / compression:.{LONG}g}"
    sparsity = f"{1 - 1 / compression:.{LONG}g}"
    shortest = min(len(density), len(sparsity))
    if shortest > LONG:
        return 1 / Fraction(repr(compression))
    return Fraction(density) if len(density) == shortest else 1 - Fraction(sparsity)


def asked(trial: Trial, sizes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return how many weights the trial asked to keep: by parameter, or "" for all together.

    `sizes` are those of the layers that each parameter is: of attention's `in_proj_weight` three. Nothing is returned
    where the count follows from something else: whole filters, n:m blocks, given masks, a dense network.
    """
    if trial.pruner == "dense" or trial.granularity != "weight" or trial.kappa or trial.mask:
        return {}
    if trial.scope == "layer":
        return {name: sum(kept_of(n, trial.compression) for n in each) for name, each in sizes.items()}
    return {"": kept_of(sum(map(sum, sizes.values())), trial.compression)}


@dataclass
class Macs:
    """Multiply-accumulates for one input. A weight's are those of the products that take it as it is."""

    total: int = 0  # of all products, biases apart
    bias: int = 0  # one for each output that a bias is added to
    by_weight: dict[str, int] = field(default_factory=dict)

    @property
    def dense(self) -> int:
        """All of them, as `model/macs` counts."""
        return self.total + self.bias

    def kept(self, masks: Mapping[str, Tensor]) -> Fraction | None:
        """All but those of pruned weights; None if a pruned weight's are not known, as it is used in another form."""
        left = Fraction(self.dense)
        for name, mask in masks.items():
            if name not in self.by_weight and self.total > sum(self.by_weight.values()):
                return None
            gone = Fraction(int((~mask).sum()), mask.numel())
            left -= gone * self.by_weight.get(name, 0)
        return left


def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> Macs:
    """Count the multiply-accumulates of one forward pass in eval mode, for one input of `input_shape` (C, H, W).

    The products are those that `torch.utils.flop_counter` knows, attention and recurrent layers taken apart into them.

    Raises:
        ValueError: if the library's total is another than the sum of the operations seen here.
    """
    first = next(model.parameters())
    x = torch.zeros(1, *input_shape, dtype=first.dtype, device=first.device)
    with torch.no_grad(), _taken_apart(), FlopCounterMode(display=False) as library:
        model(x)
    seen = _Products(model)
    with torch.no_grad(), _taken_apart(), seen:
        model(x)
    if 2 * seen.macs.total != library.get_total_flops():
        raise ValueError(f"torch counts {library.get_total_flops()} FLOPs, and {2 * seen.macs.total} were seen")
    return seen.macs


@contextmanager
def _taken_apart() -> Iterator[None]:
    """Inside, attention and recurrent layers run as the matrix products that they consist of."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # setting oneDNN's flags warns of TF32 on GPUs that are not there
            with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts each product with the library's formula, for the parameter whose memory it reads."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = Macs()
        self._names = {_memory(parameter): name for name, parameter in model.named_parameters()}
        self._outputs: dict[int, Tensor] = {}  # of products, by memory, which is nobody else's while they are held

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in flop_registry and func._overloadpacket not in flop_registry:
            parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self._count(formula(*args, **kwargs, out_val=out) // 2, args, out)
        elif func._overloadpacket in (torch.ops.aten.add, torch.ops.aten.add_):
            self._count_added(args, out)
        return out

    def _count_added(self, args: Any, out: Tensor) -> None:
        """Count a bias that is added to a product afterwards, as to rows that do not lie side by side."""
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
        used = (self._names.get(_memory(each)) for each in tensors if each.dim() > 1)
        name = next((each for each in used if each is not None), None)
        if name is not None:
            self.macs.by_weight[name] = self.macs.by_weight.get(name, 0) + macs


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
