"""Removal of heads and hidden units from transformers, whose channels `pruners.channels` cannot follow."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruners.transformer_blocks import UNITS, TransformerBlock, transformer_blocks

Indices = tuple[Tensor, ...]  # per leading axis of a tensor, the positions that were kept


class NarrowAttention(nn.MultiheadAttention):
    """Self-attention with fewer heads than its embedding has room for; made by `narrow` alone."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> tuple[Tensor, None]:  # type: ignore[override]
        """Return the output for (N, L, E), or (L, N, E) without `batch_first`, and no weights of the attention."""
        assert query is key is value and self.in_proj_weight is not None
        x = query if self.batch_first else query.transpose(0, 1)
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = parts.view(*x.shape[:2], 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        found = self.out_proj(found.transpose(1, 2).flatten(2))
        return (found if self.batch_first else found.transpose(0, 1)), None


def narrow(module: nn.MultiheadAttention, rows: int) -> None:
    """Make attention, in place, one with as many heads as `rows` of the projections of q, k and v hold."""
    module.num_heads = rows // (3 * module.head_dim)
    module.__class__ = NarrowAttention


def kept_units(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Indices]:
    """Return, per name in the state dict, the rows and columns to keep; {} if no unit can be removed.

    A unit is removed if all weights that read it are pruned: it then changes nothing, and no gradient reaches it. Every
    block keeps at least one.
    """
    kept: dict[str, Indices] = {}
    parameters = dict(model.named_parameters())
    for block in (block for unit in UNITS for block in transformer_blocks(model, unit)):
        read_ones = _read(block, masks)
        if read_ones is None or not block.removable:
            continue
        rows = read_ones[block.rows].nonzero().flatten()
        kept[block.writes] = rows, torch.arange(parameters[block.writes].shape[1])
        kept[block.reads] = torch.arange(len(parameters[block.reads])), read_ones[block.columns].nonzero().flatten()
        if block.bias:
            kept[block.bias] = (rows,)
    return kept


def _read(block: TransformerBlock, masks: Mapping[str, Tensor]) -> Tensor | None:
    """Return bool per unit: True if something reads it; None if all are read."""
    if block.reads not in masks:
        return None
    read = torch.zeros(block.count).index_add_(0, block.columns, masks[block.reads].any(0).cpu().float()) > 0
    if not read.any():
        read[0] = True
    return None if read.all() else read
