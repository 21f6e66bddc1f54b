"""SparseGPT: weights are pruned column by column, and the later columns make up for it."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from pruners.granularity import pattern
from pruners.layer_inputs import input_hessians, require_visible
from pruners.pruner import Batch, Pruner, Settings
from pruners.weights import layers, prunable

Choice = Callable[[int, Tensor], Tensor]  # the first column, (w / d)² (rows, columns) from there -> what is pruned


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    block: int = 128,
    damp: float = 0.01,
) -> dict[str, Tensor]:
    """Return (w / d)², d² = [(H restricted to the columns from w's on)⁻¹]_ww (Frantar and Alistarh 2023, equation 4).

    H = 2 X Xᵀ / N + `damp` times the mean of its diagonal, X the inputs of the layer for N images: the score is twice
    the squared error of the layer's outputs without the weight, once the later columns make up for it. An input that
    is always zero has weights of no merit. `update` decides within a layer; the scores decide how many weights each
    layer keeps under the scopes global and erk. Scores are float64.
    """
    found = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in prunable(model).items()}
    for name, pieces in input_hessians(model, batches, mode, generator, "sparsegpt").items():
        weight = prunable(model)[name].detach().flatten(1).double()
        for rows, hessian in pieces:
            upper, dead = _upper(hessian, damp)
            merits = (weight[rows] / upper.diagonal()).square().masked_fill(dead, 0)
            found[name].flatten(1)[rows] = merits
    return found


def update(
    model: nn.Module,
    batches: Sequence[Batch],
    masks: Mapping[str, Tensor],
    *,
    before: Mapping[str, Tensor],
    generator: torch.Generator,
    settings: Settings,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return masks that keep as many weights of each layer, and the updated weights (algorithm 1 of the paper).

    Columns are visited in order. At the first column of every `block` the weights of the block with the lowest (w / d)²
    are chosen, as they are after the updates so far: the same share in each block, of all rows together. With n:m, they
    are chosen at every m-th column, in each row. Each pruned weight is then set to zero, and the later columns of its
    row change so that the output changes least. Whole filters, and the scope "row", keep the masks as they are.
    """
    parameters = prunable(model)
    weights = {name: weight.detach().double().flatten(1).clone() for name, weight in parameters.items()}
    kept = {name: mask.flatten(1).clone() for name, mask in masks.items()}
    hessians = input_hessians(model, batches, settings.mode, generator, "sparsegpt")
    for name, part in layers(model).values():
        shape = parameters[name].shape
        for rows, hessian in hessians[name]:
            start, stop, _ = part.indices(len(weights[name]))
            own = slice(max(start, rows.start), min(stop, rows.stop))
            if own.start >= own.stop or bool(kept[name][own].all()):
                continue
            n = shape[2:].numel()
            # n:m counts inputs at one place of the kernel, so these are made neighbours.
            order = torch.arange(shape[1] * n, device=hessian.device)
            if pattern(settings.granularity):
                order = order.view(shape[1], n).T.flatten()
            upper, dead = _upper(hessian[order][:, order], settings.options["damp"])
            values = weights[name][own][:, order].masked_fill(dead, 0)
            mask, alive = (masks_[name].flatten(1)[own][:, order] for masks_ in (masks, before))
            gone = _sweep(values, upper, *_choice(settings, mask, alive))
            weights[name][own] = torch.empty_like(values).index_copy_(1, order, values)
            kept[name][own] = torch.empty_like(mask).index_copy_(1, order, ~gone)
    found = {name: (w * kept[name]).view_as(parameters[name]).to(parameters[name].dtype) for name, w in weights.items()}
    return {name: mask.view(masks[name].shape) for name, mask in kept.items()}, found


def _upper(hessian: Tensor, damp: float) -> tuple[Tensor, Tensor]:
    """Return the upper Cholesky factor of the damped inverse, and which inputs are always zero."""
    dead = hessian.diagonal() == 0
    hessian = hessian + torch.diag(dead.to(hessian))
    hessian = hessian + torch.diag(damp * hessian.diagonal().mean().expand(len(hessian)))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True), dead


def _sweep(values: Tensor, upper: Tensor, choose: Choice, at_once: int, block: int) -> Tensor:
    """Prune the values (rows, columns) in place, column by column, and return which were pruned.

    Columns beyond a block change when it is finished, all at once, which is faster.
    """
    gone = torch.zeros_like(values, dtype=torch.bool)
    for start in range(0, values.shape[1], block):
        end = min(start + block, values.shape[1])
        part, own = values[:, start:end], upper[start:end, start:end]
        errors = torch.zeros_like(part)
        for i in range(end - start):
            if i % at_once == 0:
                merits = (part[:, i : i + at_once] / own.diagonal()[i : i + at_once]).square()
                gone[:, start + i : min(start + i + at_once, end)] = choose(start + i, merits)
            errors[:, i] = part[:, i].masked_fill(~gone[:, start + i], 0) / own[i, i]
            part[:, i:].addr_(errors[:, i], own[i, i:], alpha=-1)
        values[:, end:].addmm_(errors, upper[start:end, end:], alpha=-1)
    values.masked_fill_(gone, 0)
    return gone


def _choice(settings: Settings, mask: Tensor, alive: Tensor) -> tuple[Choice, int, int]:
    """Return the function that chooses what is pruned, of how many columns at once, and the columns of a block.

    `mask` says how many weights are kept, or which; weights that are not `alive` were pruned before, and stay so.
    """
    columns, block = mask.shape[1], settings.options["block"]
    if blocks := pattern(settings.granularity):
        m = blocks[1]
        block = max(m, block - block % m)
        count = m - int(mask[0, :m].sum())

        def of_each_row(start: int, merits: Tensor) -> Tensor:
            merits = merits.masked_fill(~alive[:, start : start + m], -1)
            lowest = merits.argsort(dim=1, stable=True)[:, :count]
            return torch.zeros_like(merits, dtype=torch.bool).scatter_(1, lowest, True)

        return of_each_row, m, block
    if settings.granularity != "weight" or settings.scope == "row":
        return lambda start, merits: ~mask[:, start : start + block], block, block
    shares = _shares(int((~mask).sum()), [int((~part).sum()) for part in torch.split(alive, block, 1)], columns, block)

    def of_all_rows(start: int, merits: Tensor) -> Tensor:
        row = merits.masked_fill(~alive[:, start : start + block], -1).flatten()
        gone = torch.zeros_like(row, dtype=torch.bool)
        gone[row.argsort(stable=True)[: shares[start // block]]] = True
        return gone.view(merits.shape)

    return of_all_rows, block, block


def _shares(total: int, least: list[int], columns: int, block: int) -> list[int]:
    """Return how many weights each block prunes: `total` in proportion to its columns, but no less than `least`."""
    ends = [min(start + block, columns) * total // columns for start in range(0, columns, block)]
    shares = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    over = sum(max(low - share, 0) for share, low in zip(shares, least, strict=True))
    shares = [max(share, low) for share, low in zip(shares, least, strict=True)]
    for i in reversed(range(len(shares))):
        less = min(over, shares[i] - least[i])
        shares[i], over = shares[i] - less, over - less
    return shares


def _require_matrices(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    require_visible(model, input_shape, "sparsegpt", matrices=True)


SPARSEGPT = Pruner(
    score=score,
    update=update,
    check=_require_matrices,
    summary="(w / d)², d from the inverse Hessian of the layer's inputs; later columns make up for pruned weights",
    paper="Frantar and Alistarh 2023, SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot",
    needs_data=True,
    scope="layer",
    when="after",
    options={"block": 128, "damp": 0.01},
    least={"block": 1, "damp": 1e-9},
)
