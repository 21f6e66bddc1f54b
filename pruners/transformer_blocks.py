"""Attention and MLP blocks of transformers, and their units: heads, and hidden units."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruners.errors import PruningError

UNITS = {"head": "attention block", "neuron": "MLP block"}  # granularity -> where its units are
_POINTWISE = (nn.GELU, nn.ReLU, nn.SiLU, nn.Hardswish, nn.Dropout, nn.Identity)


@dataclass(frozen=True)
class TransformerBlock:
    """A block of units that write nothing but what one weight reads.

    A unit can be removed with the rows that write it and the columns that read it. Names are those of parameters.
    """

    writes: str  # weight whose rows write the units
    rows: Tensor  # unit of each row
    bias: str  # bias of these rows; "" if there is none
    reads: str  # weight whose columns read the units
    columns: Tensor  # unit of each column
    attention: bool

    @property
    def count(self) -> int:
        """Return the number of units."""
        return int(self.columns.max()) + 1

    @property
    def removable(self) -> bool:
        """True if compaction can remove its units: heads of torch's own attention alone."""
        return not self.attention or self.writes.endswith("in_proj_weight")


def transformer_blocks(model: nn.Module, unit: str) -> list[TransformerBlock]:
    """Return the blocks whose units are `unit`: "head" or "neuron".

    Attention is torch's MultiheadAttention with one embedding size, or a module with layers `qkv` and `proj` and a
    number `num_heads`, as those of torchvision and timm. An MLP block has two linear layers, `fc1` and `fc2` or within
    a Sequential, with nothing but an activation, dropout and the identity between and behind them.
    """
    find = _attention if unit == "head" else _mlp
    return [block for name, module in model.named_modules() for block in find(f"{name}." if name else "", module)]


def require_blocks(model: nn.Module, unit: str) -> list[TransformerBlock]:
    """Return the blocks with these units.

    Raises PruningError if there are none.
    """
    blocks = transformer_blocks(model, unit)
    if not blocks:
        raise PruningError(f'Granularity "{unit}" needs a transformer, but the model has no {UNITS[unit]}.')
    return blocks


def _attention(prefix: str, module: nn.Module) -> Iterator[TransformerBlock]:
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
            return
        heads = torch.arange(module.num_heads).repeat_interleave(module.head_dim)
        bias = f"{prefix}in_proj_bias" if module.in_proj_bias is not None else ""
        yield TransformerBlock(
            f"{prefix}in_proj_weight", heads.repeat(3), bias, f"{prefix}out_proj.weight", heads, attention=True
        )
        return
    qkv, proj, count = (getattr(module, name, None) for name in ("qkv", "proj", "num_heads"))
    if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear) and isinstance(count, int)):
        return
    if qkv.out_features == 3 * proj.in_features and proj.in_features % count == 0:
        heads = torch.arange(count).repeat_interleave(proj.in_features // count)
        yield _between(f"{prefix}qkv", qkv, heads.repeat(3), f"{prefix}proj", heads, attention=True)


def _mlp(prefix: str, module: nn.Module) -> Iterator[TransformerBlock]:
    first, second = getattr(module, "fc1", None), getattr(module, "fc2", None)
    names = "fc1", "fc2"
    if isinstance(module, nn.Sequential):
        linear = [(name, child) for name, child in module.named_children() if isinstance(child, nn.Linear)]
        others = [child for child in module if not isinstance(child, nn.Linear)]
        if len(linear) != 2 or len(others) < 1 or not all(isinstance(child, _POINTWISE) for child in others):
            return
        (name, first), (other, second) = linear
        names = name, other
    if isinstance(first, nn.Linear) and isinstance(second, nn.Linear) and first.out_features == second.in_features:
        hidden = torch.arange(first.out_features)
        yield _between(prefix + names[0], first, hidden, prefix + names[1], hidden, attention=False)


def _between(
    first: str, layer: nn.Linear, rows: Tensor, second: str, columns: Tensor, attention: bool
) -> TransformerBlock:
    bias = f"{first}.bias" if layer.bias is not None else ""
    return TransformerBlock(f"{first}.weight", rows, bias, f"{second}.weight", columns, attention)
