"""Granularities: weights are pruned one by one, as whole filters, heads or neurons, or n of every m in a row."""

import math
import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pruners.comparable import comparable
from pruners.errors import PruningError, require_known
from pruners.filters import block_units, filters
from pruners.selection import require_finite, select
from pruners.transformer_blocks import UNITS
from pruners.weights import Parts, joined, layers, per_layer, prunable
from search_spaces.density import Density, density_of, fraction_of

# The granularities that a space may name. In Python any n:m with n < m is accepted.
FILTERS = {"filter": "sum", "filter-mean": "mean", "filter-max": "max"}  # -> how a channel's scores are combined
WHOLE = (*FILTERS, *UNITS)  # what can be removed as a whole, by a compression or a kappa
GRANULARITIES = ("weight", *WHOLE, "1:2", "1:4", "2:4", "1:8", "2:8", "4:8")

# (scores, density, masks of an earlier iteration or None, scope) -> masks, as `pruners.select`.
Selector = Callable[[Mapping[str, Tensor], Density, Mapping[str, Tensor] | None, str], dict[str, Tensor]]


def pattern(granularity: str) -> tuple[int, int] | None:
    """Return (n, m) of an n:m granularity and None for others; raise PruningError for an unknown granularity."""
    match = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", granularity)
    if match and int(match[1]) < int(match[2]):
        return int(match[1]), int(match[2])
    require_known("granularity", granularity, [name for name in GRANULARITIES if ":" not in name] + ["n:m with n < m"])
    return None


def selector(
    granularity: str, model: nn.Module, compression: float, kappa: float = 0.0, whole_filters: bool = False
) -> Selector:
    """Return the function that draws masks of this granularity from scores of `model`'s weights.

    "weight" is `pruners.select`. "filter" removes channels (`pruners.filters`), ranked by the sum of their
    weights' scores, "filter-mean" by the mean and "filter-max" by the largest; with `whole_filters`, all weights of a
    filter have its score, and these are the sum, mean or largest over the filters of a channel. "head" removes heads of
    attention, "neuron" hidden units of MLP blocks (`pruners.filters.block_units`). "n:m" keeps the n
    highest of every m weights that follow each other along the inputs of an output (Mishra et al. 2021, section 3);
    ties go to the earlier ones, and scope does not matter. Layers stay dense if m does not divide their width and the
    width is below m or below 4: the first convolution on RGB images, depthwise ones. The others end at a density of
    exactly n/m, so that the compression must be m/n.
    Raises PruningError for an unknown name, a model whose channels cannot be followed, a compression other than
    m/n, or a width that m does not divide; the selector raises it for scores that are not finite.
    """
    blocks = pattern(granularity)
    if kappa and granularity not in WHOLE:
        raise PruningError(
            f"kappa is a share of filters, but the granularity is {granularity!r}: choose {', '.join(WHOLE)}."
        )
    if blocks is None:
        if granularity == "weight":
            return _by_layer(layers(model), list(_groups_of_transposed(model)))
        if granularity in UNITS:
            return block_units(model, granularity, compression, kappa)
        return filters(model, compression, FILTERS[granularity], kappa, whole_filters)
    n, m = blocks
    transposed = _groups_of_transposed(model)
    if not math.isclose(compression * n, m):
        raise PruningError(
            f"Granularity {granularity!r} has a compression of {m / n:g}x, but {compression:g}x was asked for: "
            f"ask for {m / n:g}, or choose another n:m."
        )

    def keep(
        scores: Mapping[str, Tensor], density: Density, alive: Mapping[str, Tensor] | None, scope: str
    ) -> dict[str, Tensor]:
        # Before the last iteration, the density is rounded up to a whole number of weights per block.
        kept = n if math.isclose(density, n / m) else max(n, math.ceil(fraction_of(density) * m))
        return {
            name: _blocks(name, score, kept, m, (alive or {}).get(name), transposed.get(name))
            for name, score in scores.items()
        }

    return keep


def _by_layer(parts: Parts, transposed: Sequence[str]) -> Selector:
    """Return a selector that calls `select` on layers, because one parameter may hold several layers.

    `transposed` names the weights of transposed convolutions, whose rows are inputs.
    """

    def keep(
        scores: Mapping[str, Tensor], density: Density, alive: Mapping[str, Tensor] | None, scope: str
    ) -> dict[str, Tensor]:
        if scope == "row" and transposed:
            raise PruningError(
                f'Scope "row" compares the weights of an output, and those of {", ".join(transposed)}, a transposed '
                "convolution, are ordered by input: choose layer or global."
            )
        if all(layer == name for layer, (name, _) in parts.items()):
            return select(scores, density, alive, scope)
        living = None if alive is None else per_layer(alive, parts)
        return joined(select(per_layer(scores, parts), density, living, scope), parts)

    return keep


def check(model: nn.Module, granularity: str, compression: float, kappa: float = 0.0) -> None:
    """Raise PruningError if no scores can give masks of this granularity and compression or kappa, in milliseconds."""
    weights = {name: weight.detach() for name, weight in prunable(model).items()}
    choose = selector(granularity, model, compression, kappa)
    if granularity != "weight":
        choose(weights, 1 - fraction_of(kappa) if kappa else density_of(compression), None, "global")


def _groups_of_transposed(model: nn.Module) -> dict[str, int]:
    """Return weight name -> groups of each transposed convolution, whose weight is (inputs, outputs / groups, ...)."""
    groups = {
        id(weight): layer.groups
        for layer in model.modules()
        if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
        for weight in layer.parameters()  # also the original one of a parametrized layer
    }
    return {name: groups[id(weight)] for name, weight in prunable(model).items() if id(weight) in groups}


def _blocks(name: str, score: Tensor, kept: int, m: int, alive: Tensor | None, transposed: int | None) -> Tensor:
    """Return the mask of one layer; `transposed` is the groups of a transposed convolution, whose inputs are axis 0."""
    require_finite(name, score)
    axis = 1 if transposed is None else 0
    width = score.shape[axis] // (transposed or 1)  # inputs of one output: a block stays within its group
    if width % m and width < max(m, 4):
        return torch.ones_like(score, dtype=torch.bool)
    if width % m:
        fitting = [other for other in GRANULARITIES if ":" in other and width % int(other.split(":")[1]) == 0]
        raise PruningError(
            f"Granularity n:{m} needs layers whose width {m} divides, and {name!r} has {width} inputs: "
            f"for this layer choose {', '.join(['weight', 'filter', *fitting])}."
        )
    rows = comparable({name: score})[name].movedim(axis, -1)
    rows = rows if alive is None else rows.masked_fill(~alive.movedim(axis, -1), -math.inf)
    blocks = rows.reshape(*rows.shape[:-1], -1, m)
    order = blocks.argsort(dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(blocks, dtype=torch.bool).scatter_(-1, order[..., :kept], True)
    mask &= blocks != -math.inf
    return mask.reshape(rows.shape).movedim(-1, axis).contiguous()
