"""Arguments of `prune` and `find` as users give them, checked and brought into one form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from torch import Tensor, nn

from pruners import custom
from pruners.ablations import ABLATIONS
from pruners.batches import Batches, read_batches
from pruners.errors import PruningError, require_known
from pruners.model_copy import copied
from pruners.pruner import Batch, Pruner
from pruners.registry import lookup
from pruners.weights import prunable
from search_spaces.density import density_of, fraction_of


def read_pruner(pruner: Any) -> tuple[Pruner, str]:
    """Return the pruner and its name in messages."""
    if isinstance(pruner, str):
        return lookup(pruner), repr(pruner)
    if isinstance(pruner, Pruner):
        return pruner, repr(getattr(pruner.score, "__name__", "of your own"))
    if callable(pruner) and not isinstance(pruner, type | nn.Module):
        label = repr(getattr(pruner, "__name__", type(pruner).__name__))
        # Batches are not required here: the function gets those that are passed, which may be none.
        return replace(custom.wrapped(pruner, label, "a score function"), needs_data=False), label
    raise PruningError(
        f"The pruner is of type {type(pruner).__name__}; it must be a name, a pruners.Pruner or a score function."
    )


def require_allowed(chosen: Pruner, label: str, ablation: str, granularity: str) -> None:
    """Raise PruningError for an ablation that is unknown or does not go with the other settings."""
    require_known("ablation", ablation, ABLATIONS)
    if ablation == "shuffle" and granularity != "weight":
        raise PruningError(f'Ablation "shuffle" moves single weights; granularity {granularity!r} keeps them together.')
    if chosen.update and ablation in ("shuffle", "invert"):
        raise PruningError(f"Ablation {ablation!r} is not for pruner {label}, which updates weights for its own masks.")


def working_copy(model: Any) -> nn.Module:
    """Return a copy of the model to score, without wrappers and with half precision as float32.

    Raises PruningError for a model that can have no scores.
    """
    if not isinstance(model, nn.Module):
        raise PruningError(f"The model is of type {type(model).__name__}; it must be a torch.nn.Module.")
    weights = prunable(model)
    if not weights:
        raise PruningError(
            "The model has no convolution, linear, attention or recurrent layer, so there is no weight to prune. To "
            "find the weights of other modules, call `mark_prunable(model, example)` or pass batches."
        )
    for name, weight in weights.items():
        if not weight.is_floating_point() or weight.is_meta:
            kind = "on the meta device, without values" if weight.is_meta else str(weight.dtype).removeprefix("torch.")
            raise PruningError(f"The weights of {name!r} are {kind}; scores need floating-point numbers.")
    working = copied(model)
    # Half precision would lose most of a second derivative, and of the scores themselves, to underflow.
    for tensor in all_tensors(working):
        if tensor.is_floating_point() and tensor.dtype.itemsize < 4:
            tensor.data = tensor.data.float()
    return working


def batches_for(batches: Any, chosen: Pruner, label: str, model: nn.Module) -> Sequence[Batch]:
    """Return the batches that the pruner scores on: only the first for a pruner that reads only an input's shape."""
    ours = is_ours(chosen)
    if ours and not (chosen.needs_data or chosen.needs_input):
        return ()
    first = chosen.needs_input and not chosen.needs_data
    pairs = read_batches(batches, labelled=not first, first=first)
    if (chosen.needs_data or chosen.needs_input) and not pairs:
        raise PruningError(f"Pruner {label} scores on data: pass batches=[(inputs, labels), ...], at least one.")
    dtypes = [weight.dtype for weight in model.parameters() if weight.is_floating_point()]
    # Our own scores move inputs to the device when a pass needs them; a user's score gets all of them there.
    return Batches(pairs, dtypes, None if ours else next(model.parameters()).device)


def is_ours(pruner: Pruner) -> bool:
    """Return True if the score is of this package, not a user's own."""
    return getattr(pruner.score, "__module__", "").startswith("pruners.")


def masks_of_torch(model: nn.Module) -> dict[str, Tensor]:
    """Return the masks that torch.nn.utils.prune has put on the weights."""
    buffers = dict(model.named_buffers())
    names = {name: name.removesuffix("_orig") + "_mask" for name in prunable(model) if name.endswith("_orig")}
    return {name: buffers[mask] != 0 for name, mask in names.items() if mask in buffers}


def asked_compression(compression: float | Fraction | None, kappa: float, continues: bool) -> Fraction:
    """Return the share to keep, of the weights or, by kappa, of the filters; raise PruningError if it is not valid."""
    if kappa and continues:
        raise PruningError(
            "kappa is a share of all filters, so it cannot continue from the masks of an earlier pruning."
        )
    if (compression is None) == (not kappa):
        raise PruningError("Give a compression of at least 1 (dense) or a kappa above 0, and only one of the two.")
    if not 0 <= kappa < 1:
        raise PruningError(f"The kappa is {kappa}; it must be at least 0 and below 1, as a share of the filters.")
    if compression is not None and not 1 <= compression < math.inf:
        raise PruningError(f"The compression is {compression}; it must be a finite number of at least 1 (dense).")
    return density_of(compression) if compression else 1 - fraction_of(kappa)


def images_at_a_time(images_at_once: int) -> int:
    """Return the number of images scored at once; raise PruningError if it is negative."""
    if images_at_once < 0:
        raise PruningError(f"images_at_once is {images_at_once}; it must be at least 0 (0: whole batches).")
    return images_at_once


def all_tensors(model: nn.Module) -> list[Tensor]:
    """Return the parameters and buffers of a model."""
    return [*model.parameters(), *model.buffers()]
