"""Granularities of whole channels, heads and hidden units, with the rows that write and the columns that read them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pruners.channels import Channels, UnfollowableError, trace_channels
from pruners.errors import PruningError, require_known
from pruners.scopes import kept_of
from pruners.selection import require_finite
from pruners.transformer_blocks import UNITS, require_blocks
from pruners.weights import prunable
from search_spaces.density import Density, fraction_of

SCOPES = ("global", "layer")


def filters(
    model: nn.Module, compression: float, merit: str, kappa: float, whole: bool = False
) -> Callable[..., dict[str, Tensor]]:
    """Return a selector (`pruners.granularity.Selector`) that keeps or removes whole channels.

    Removing a channel removes the filters that write it and the weights of other layers that read it, so that the
    compression is that of the smaller network (`pruners.compact`). Channels that a residual connection adds up, or a
    depthwise convolution maps to each other, form one group and are removed together. The logits are always kept, and
    so is the best channel of every layer.
    A group's merit is the "sum", "mean" or "max" of the scores of its filters; the weights that read it do not count.
    With `whole`, a filter's score stands once for each of its weights, and counts once.
    Groups are ranked by merit, or, under scope "layer", by their rank among the channels of their layer; ties go to
    earlier layers and channels. From the top, as many groups are kept as fit into n - floor((1 - density) n) of n
    weights.
    With a `kappa` above 0, filters are counted instead of weights: `density` is the share of filters kept. From the
    bottom, floor((1 - density) n) of the n filters that are not logits are removed; a group counts with all its
    filters, and a group with more filters than are left to remove is skipped.
    `compression` or `kappa` is the final target; error messages name it when it is out of reach.
    Raises PruningError if the channels cannot be followed. The selector raises it for scores that are not finite,
    for another scope, and for a compression or kappa that is out of reach.
    """
    try:
        channels = trace_channels(model)
    except UnfollowableError as error:
        raise PruningError(f'Granularity "filter" must follow channels through the model, but {error}') from error
    rows, columns = _sides(model, channels)
    sizes = torch.zeros(len(channels.fixed), dtype=torch.int64)  # per group: the number of filters that write it
    for groups in rows.values():
        sizes += torch.bincount(groups, minlength=len(sizes))
    removable = _Groups("filter", "channel", rows, columns, sizes, (sizes > 0) & ~never_removed(model, channels))
    return _keeper(removable, compression, merit, kappa, whole)


def block_units(model: nn.Module, unit: str, compression: float, kappa: float) -> Callable[..., dict[str, Tensor]]:
    """Return a selector that keeps or removes whole heads of attention blocks, or hidden units of MLP blocks.

    Removing a head removes its rows of the query, key and value projections and its columns of the output projection;
    removing a hidden unit, its row of the first and its column of the second linear layer. Its merit is the sum of the
    scores of its rows. All weights of the network count for the compression, but only units are removed. A `kappa` is
    a share of units. The rest is as for `filters`. A block with a weight that is kept dense is left as it is.
    Raises PruningError if the model has no such block, and as `filters` does.
    """
    weights = prunable(model)
    rows = {name: torch.zeros(len(weight), dtype=torch.int64) for name, weight in weights.items()}  # 0: never removed
    columns: dict[str, Tensor] = {}
    count = 1
    for block in require_blocks(model, unit):
        if block.writes in weights and block.reads in weights:
            rows[block.writes], columns[block.reads] = block.rows + count, block.columns + count
            count += block.count
    candidates = torch.arange(count) > 0
    groups = _Groups(
        unit, f"{unit} of its {UNITS[unit]}s", rows, columns, torch.ones(count, dtype=torch.int64), candidates
    )
    return _keeper(groups, compression, "sum", kappa, whole=False)


@dataclass(frozen=True)
class _Groups:
    """Groups of rows and columns that are removed together."""

    granularity: str
    word: str  # what every layer keeps one of
    rows: Mapping[str, Tensor]  # weight -> group of each row
    columns: Mapping[str, Tensor]  # weight -> group of each column, where columns are removed
    sizes: Tensor  # per group: what it counts for kappa
    candidates: Tensor  # bool per group: it may be removed


def _keeper(
    groups: _Groups, compression: float, merit: str, kappa: float, whole: bool
) -> Callable[..., dict[str, Tensor]]:
    """Return the selector for these groups; see `filters`."""
    rows, columns, sizes, candidates = groups.rows, groups.columns, groups.sizes, groups.candidates
    n = int(sizes[candidates].sum())

    def keep(
        scores: Mapping[str, Tensor], density: Density, alive: Mapping[str, Tensor] | None, scope: str
    ) -> dict[str, Tensor]:
        require_known("scope of filters", scope, SCOPES)
        for name, score in scores.items():
            require_finite(name, score)
        own = {name: score.flatten(1)[:, :1] for name, score in scores.items()} if whole else scores
        merits = _merits(own, rows, len(sizes), merit)
        if alive is not None:
            merits[~_living(alive, rows, len(sizes))] = -torch.inf
        best = torch.zeros_like(candidates)
        for own_groups in rows.values():
            best[own_groups[merits[own_groups].argmax()]] = True
        if scope == "layer":
            merits = _standings(merits, rows)
        merits[best] = torch.inf
        order = torch.where(candidates, merits, -torch.inf).argsort(descending=True, stable=True)
        if kappa:
            kept = _by_filters(order, candidates & ~best, sizes, math.floor((1 - fraction_of(density)) * n))
            if kept is None:
                most = int(sizes[candidates & ~best].sum())
                raise PruningError(
                    f"Unreachable kappa {kappa:g}: every layer keeps at least one {groups.word}, so at most {most} of "
                    f"{n} {groups.granularity}s can be removed, {most / n:.4g}."
                )
        else:
            total = sum(score.numel() for score in scores.values())

            def weigh(kept: Tensor) -> int:
                return sum(_count(name, score.shape, rows, columns, kept) for name, score in scores.items())

            low, high = int((best & candidates).sum()), int((candidates & (merits > -torch.inf)).sum())
            kept = _by_weights(order, candidates, low, high, weigh, kept_of(total, density))
            if kept is None:
                reached = total / weigh(best | ~candidates)
                raise PruningError(
                    f"Unreachable {groups.granularity} compression {compression:g}x: every layer keeps at least one "
                    f"{groups.word}, so the compression is at most {reached:.4g}x."
                )
        return {name: _mask(name, score, rows, columns, kept) for name, score in scores.items()}

    return keep


def _by_filters(order: Tensor, removable: Tensor, sizes: Tensor, spare: int) -> Tensor | None:
    """Return the groups kept (bool per group) when `spare` filters are removed from the end of `order`.

    None if fewer filters than that can be removed.
    """
    if spare > int(sizes[removable].sum()):
        return None
    kept = torch.ones_like(removable)
    for group in reversed(order.tolist()):
        if removable[group] and sizes[group] <= spare:
            kept[group] = False
            spare -= int(sizes[group])
    return kept


def _by_weights(
    order: Tensor, candidates: Tensor, low: int, high: int, weigh: Callable[[Tensor], int], budget: int
) -> Tensor | None:
    """Return the groups kept (bool per group): of the candidates the first of `order`, as many as fit the budget.

    At least `low` and at most `high` candidates are kept; `weigh` counts the weights of a choice. None if even the
    fewest exceed the budget.
    """

    def keeping(count: int) -> Tensor:
        kept = ~candidates
        kept[order[:count]] = True
        return kept

    if weigh(keeping(low)) > budget:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if weigh(keeping(middle)) <= budget else (low, middle - 1)
    return keeping(low)


def _sides(model: nn.Module, channels: Channels) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return, per prunable weight, the groups of its rows, and of its columns if each is a channel of its own."""
    names = {id(weight): name for name, weight in prunable(model).items()}
    rows, columns = {}, {}
    for layer, inputs in channels.inputs.items():
        name = names.get(id(layer.weight))
        if name is None:
            continue
        assert isinstance(layer.weight, Tensor)
        rows[name] = channels.outputs[layer]
        if len(inputs) == layer.weight.shape[1]:
            columns[name] = inputs
    return rows, columns


def never_removed(model: nn.Module, channels: Channels) -> Tensor:
    """Return the groups that are never removed: the logits, and the channels that a dense layer writes or reads."""
    weights = {id(weight) for weight in prunable(model).values()}
    fixed = channels.fixed.clone()
    for layer, inputs in channels.inputs.items():
        if id(layer.weight) not in weights:
            fixed[channels.outputs[layer]] = fixed[inputs] = True
    return fixed


def _merits(scores: Mapping[str, Tensor], rows: Mapping[str, Tensor], count: int, merit: str) -> Tensor:
    total, sizes = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    largest = torch.full((count,), -torch.inf, dtype=torch.float64)
    for name, groups in rows.items():
        score = scores[name].detach().flatten(1).cpu()
        total.index_add_(0, groups, score.double().sum(1))
        sizes.index_add_(0, groups, torch.full((len(groups),), float(score.shape[1]), dtype=torch.float64))
        largest.scatter_reduce_(0, groups, score.amax(1).double(), "amax")
    return {"sum": total, "mean": total / sizes.clamp(min=1), "max": largest}[merit]


def _living(alive: Mapping[str, Tensor], rows: Mapping[str, Tensor], count: int) -> Tensor:
    living = torch.zeros(count, dtype=torch.bool)
    for name, groups in rows.items():
        living[groups[alive[name].flatten(1).any(1).cpu()]] = True
    return living


def _standings(merits: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Return merits that compare between layers: minus the relative rank within the first layer that writes a group."""
    standings = torch.full_like(merits, torch.inf)
    for groups in rows.values():
        own = torch.unique(groups)
        places = torch.empty(len(own), dtype=merits.dtype)
        places[merits[own].argsort(descending=True, stable=True)] = torch.arange(len(own), dtype=merits.dtype)
        new = standings[own] == torch.inf
        standings[own[new]] = -places[new] / len(own)
    return torch.where(merits == -torch.inf, merits, standings)


def _count(
    name: str, shape: torch.Size, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor], kept: Tensor
) -> int:
    if name not in rows:
        return shape.numel()
    wide = int(kept[columns[name]].sum()) if name in columns else shape[1]
    return int(kept[rows[name]].sum()) * wide * shape[2:].numel()


def _mask(name: str, score: Tensor, rows: Mapping[str, Tensor], columns: Mapping[str, Tensor], kept: Tensor) -> Tensor:
    mask = torch.ones(score.shape[:2], dtype=torch.bool)
    if name in rows:
        mask &= kept[rows[name]][:, None]
    if name in columns:
        mask &= kept[columns[name]]
    return mask.view(*mask.shape, *[1] * (score.dim() - 2)).expand(score.shape).contiguous().to(score.device)
