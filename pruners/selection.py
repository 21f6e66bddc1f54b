"""Selection of masks by scores: exactly as many weights are kept as asked for, whatever the scores are."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pruners.comparable import comparable
from pruners.errors import PruningError
from pruners.scopes import budgets, kept_of
from search_spaces.density import Density

ROUNDING = 1e-5  # relative to a score


def select(
    scores: Mapping[str, Tensor],
    density: Density,
    alive: Mapping[str, Tensor] | None = None,
    scope: str = "global",
) -> dict[str, Tensor]:
    """Keep the highest scores: one boolean mask (True = kept) per score tensor, same names, order and shapes.

    Of n weights, n - floor((1 - density) n) are kept, counted in exact fractions; ties go to the earlier position.
    `alive` holds the masks of an earlier iteration: weights that are False there count as -inf, so that masks are
    nested. Scope "global" lets all weights compete, "layer" gives every layer the same density, "erk" and the smart
    ratios give every layer its own (`pruners.scopes`), and "row" gives every row, the weights of one output, the same
    density.
    Needs memory for about one more copy of the scores.
    Raises PruningError for NaN or infinite scores (naming the layer), an unknown scope, a density outside
    [0, 1], or more weights to keep than are alive.
    """
    if not 0 <= density <= 1:
        raise PruningError(f"The density is {density:g}; it must lie in [0, 1].")
    if alive is not None and alive.keys() != scores.keys():
        layers = ", ".join(sorted(alive.keys() ^ scores.keys()))
        raise PruningError(f"Scores and masks must cover the same layers; only one of them has {layers}.")
    for name, score in scores.items():
        require_finite(name, score)
    if scope == "row":
        return {name: _of_rows(score, density, (alive or {}).get(name)) for name, score in scores.items()}
    masks: dict[str, Tensor] = {}
    for names, kept in budgets(scores, density, scope, alive):
        masks |= _keep_highest({name: scores[name] for name in names}, kept, alive)
    return masks


def tied_share(scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], scope: str) -> float:
    """Return the share of kept weights that rounding alone could exchange for pruned ones; 0 if none is kept.

    In each group of layers that compete, scores count that differ from the lowest kept one by at most 1e-5 of it: the
    kept ones or the pruned ones among them, whichever are fewer. 1e-5 is a hundred float32 roundings, about the change
    of a long sum in another order.
    """
    scores = comparable(scores)
    groups = [list(scores)] if scope == "global" else [[name] for name in scores]
    kept = sum(int(masks[name].count_nonzero()) for name in scores)
    if scope == "row":
        return sum(_tied_in_rows(score, masks[name]) for name, score in scores.items()) / kept if kept else 0.0
    exchanged = 0
    for names in groups:
        lowest = min((float(scores[n][masks[n]].min()) for n in names if masks[n].any()), default=None)
        if lowest is None:
            continue
        near = {name: (scores[name] - lowest).abs() <= ROUNDING * abs(lowest) for name in names}
        inside = sum(int((near[name] & masks[name]).count_nonzero()) for name in names)
        exchanged += min(inside, sum(int(near[name].count_nonzero()) for name in names) - inside)
    return exchanged / kept if kept else 0.0


def _tied_in_rows(score: Tensor, mask: Tensor) -> int:
    rows, kept = score.flatten(1), mask.flatten(1)
    lowest = rows.masked_fill(~kept, math.inf).amin(1, keepdim=True)
    near = (rows - lowest).abs() <= ROUNDING * lowest.abs()
    return int(torch.minimum((near & kept).sum(1), (near & ~kept).sum(1))[kept.any(1)].sum())


def require_finite(name: str, score: Tensor) -> None:
    """Raise PruningError, naming the layer, if a score is NaN, infinite or complex."""
    if score.is_complex():
        raise PruningError(
            f"The scores of layer {name!r} are complex numbers, which have no order: take their absolute values."
        )
    # aminmax returns NaN if there is any and, unlike isfinite, allocates nothing: one layer may be 400 MB.
    if not score.is_floating_point() or score.numel() == 0 or all(end.isfinite() for end in score.aminmax()):
        return
    nan, infinite = int(score.isnan().sum()), int(score.isinf().sum())
    raise PruningError(
        f"The scores of layer {name!r} hold {nan} NaN and {infinite} infinite values among {score.numel()}: "
        "no mask can be drawn from them. Look for weights, inputs or a loss that overflow."
    )


def _of_rows(score: Tensor, density: Density, alive: Tensor | None) -> Tensor:
    """Keep the highest scores of every row, as many in each; ties go to the earlier position."""
    rows = comparable({"": score})[""].flatten(1)
    spare = kept_of(rows.shape[1], density) if rows.numel() else 0
    if alive is not None:
        living = alive.flatten(1)
        if fewest := int((living.sum(1) < spare).sum()):
            raise PruningError(
                f"The density asked for keeps {spare} of {rows.shape[1]} weights in every row, but in {fewest} rows "
                "fewer than that are alive."
            )
        rows = rows.masked_fill(~living, -math.inf)
    order = rows.argsort(dim=1, descending=True, stable=True)[:, :spare]
    return torch.zeros_like(rows, dtype=torch.bool).scatter_(1, order, True).view(score.shape)


def _keep_highest(scores: Mapping[str, Tensor], spare: int, alive: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    if spare == 0:
        return {name: torch.zeros_like(score, dtype=torch.bool) for name, score in scores.items()}
    exact = comparable(scores)
    threshold = _kth_highest(_rivals(exact, alive), spare)
    if threshold == -math.inf:
        n = sum(score.numel() for score in exact.values())
        raise PruningError(f"The density asked for keeps {spare} of {n} weights, but fewer than that are alive.")

    def living(name: str, hit: Tensor) -> Tensor:
        return hit if alive is None else hit.logical_and_(alive[name])

    # All scores above the threshold are kept. Of those that tie with it, as many as are still to be kept are taken by
    # position: dropping all would leave nothing of all-equal scores, and keeping all would be too many.
    masks = {name: living(name, score > threshold) for name, score in exact.items()}
    spare -= sum(int(mask.count_nonzero()) for mask in masks.values())
    for name, mask in masks.items():
        tied = living(name, exact[name] == threshold)
        count = int(tied.count_nonzero())
        if count > spare:
            tied = _first(tied, spare)
        mask.logical_or_(tied)
        spare -= min(count, spare)
    return masks


def _rivals(scores: Mapping[str, Tensor], alive: Mapping[str, Tensor] | None) -> Tensor:
    """Return all scores in one new vector on the device of the first, with pruned weights at -inf."""
    size = sum(score.numel() for score in scores.values())
    first = next(iter(scores.values()))
    vector = torch.empty(size, dtype=first.dtype, device=first.device)
    start = 0
    for name, score in scores.items():
        piece = vector[start : start + score.numel()].view(score.shape)
        piece.copy_(score)
        if alive is not None:
            piece.masked_fill_(~alive[name], -math.inf)
        start += score.numel()
    return vector


def _kth_highest(vector: Tensor, k: int) -> float:
    """Return the k-th highest value (k from 1) of a vector, which is overwritten.

    On CPUs numpy's in-place partition is several times faster than torch's kthvalue and topk and needs no
    index tensors. The values are negated, because it takes fifty times as long if most of them tie for lowest, as
    those of pruned weights do, but not if they tie for highest.
    On GPUs topk is used: kthvalue raises an error there under torch.use_deterministic_algorithms.
    """
    if vector.is_cpu:
        vector.neg_().numpy().partition(k - 1)
        return -float(vector[k - 1])
    return float(vector.topk(k, sorted=False).values.min())


def _first(hits: Tensor, count: int) -> Tensor:
    """Return a boolean tensor with its first `count` True values, by position; the others become False.

    Uses bisection, because indices or running sums of a layer with 100 million ties would take more memory than its
    scores.
    """
    row = hits.flatten()
    low, high = 0, len(row)  # the last hit to keep lies in row[low:high]
    while high - low > 1:
        middle = (low + high) // 2
        below = int(row[low:middle].count_nonzero())
        if below < count:
            low, count = middle, count - below
        else:
            high = middle
    row[high if count else 0 :] = False
    return row.view(hits.shape)
