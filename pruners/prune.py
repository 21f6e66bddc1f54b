"""Drawing of masks for a model by a pruner: score, select, zero the pruned weights, and repeat."""

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial, update_wrapper, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from pruners.ablations import inverted, shuffled
from pruners.arguments import (
    all_tensors,
    asked_compression,
    batches_for,
    images_at_a_time,
    is_ours,
    masks_of_torch,
    read_pruner,
    require_allowed,
    working_copy,
)
from pruners.batches import read_batches
from pruners.errors import (
    OF_THE_MACHINE,
    PruningError,
    PruningWarning,
    in_one_line,
    is_out_of_memory,
)
from pruners.granularity import selector
from pruners.masks import apply_masks, put_weights
from pruners.memory import Memory
from pruners.products import candidates, discover
from pruners.pruner import FRESH_BATCHES, Batch, Pruner, Settings
from pruners.reparametrised import of_plain_weights, plain_copy
from pruners.schedules import densities
from pruners.selection import tied_share
from pruners.weights import Parts, joined, layers, per_layer, prunable
from search_spaces.density import MANY_TIED, Density

P = ParamSpec("P")
T = TypeVar("T")
Scoring = Callable[[], dict[str, Tensor]]  # parameter name -> scores


@dataclass(frozen=True)
class Pruning:
    """Masks (parameter name -> bool, True = kept), and the scores of the last iteration, from which they were drawn."""

    masks: dict[str, Tensor]
    scores: dict[str, Tensor]
    weights: dict[str, Tensor] = field(default_factory=dict)  # new values of the weights, if the pruner updates them
    how: str = ""  # how scores were computed, see `pruners.memory.Memory.how`; "" if none were computed here
    tied: float = 0.0  # share of the kept weights chosen by position, see `pruners.selection.tied_share`


def _outside_inference_mode(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function outside of inference mode, so that the tensors that it makes can have gradients."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext():
            return function(*args, **kwargs)

    return called


@_outside_inference_mode
def find(  # noqa: PLR0913 - the settings of a method, all but three by keyword
    model: nn.Module,
    pruner: str | Pruner | Callable[..., dict[str, Tensor]],
    compression: float | Fraction | None = None,
    batches: Any = None,
    *,
    kappa: float = 0.0,
    scope: str | None = None,
    schedule: str | None = None,
    iterations: int | None = None,
    mode: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    granularity: str = "weight",
    ablation: str = "none",
    alive: Mapping[str, Tensor] | None = None,
    share: Callable[[Scoring], dict[str, Tensor]] | None = None,
    redraw: Callable[[int], Any] | None = None,
    images_at_once: int = 0,
) -> Pruning:
    """Return masks that keep n - floor((1 - 1/compression) n) of the model's n prunable weights, and their scores.

    This count is exact: a compression is the decimal that is written, or stands for the density or sparsity that it
    was computed from (`search_spaces.density`).

    `batches` holds pairs of inputs (N, ...) and integer labels (N,), on any device. Data-driven scores add up over
    them; others need none, and SynFlow needs one for its input shape. It may be a DataLoader or any other finite
    iterable, or a single batch (`pruners.batches.read_batches` lists the formats). It is read once and not changed.
    `pruner` is a name, a `Pruner`, or a score function (`pruners.custom.wrapped` has its defaults).
    Settings left at None are the pruner's own (`Pruner.settings` has the rules). `seed` decides every random number
    drawn. `ablation` is a sanity check (`pruners.ablations`): "shuffle" permutes each final mask inside its layer;
    "invert" keeps the lowest scores instead of the highest, in every iteration; "reinitialize" changes no mask and is
    left to the training.
    `granularity` is what is kept or pruned as one: weights, filters, or n of m in a row. Weights meet the count above
    exactly, the others as `pruners.granularity.selector` says. `kappa`, instead of a compression, is the share of
    filters to remove at a filter granularity: floor(kappa n) of the n filters that are not logits, lowest scores
    first, keeping the best one of every layer. The compression then follows from it.
    `alive` holds the masks of an earlier pruning. Weights that it pruned stay pruned, and the schedule falls from its
    density to the one asked for, which is still a fraction of all weights.
    `share` is called with the function that computes the scores, if these do not depend on the compression: with one
    iteration and no `alive`. It returns the scores, which it may also take from elsewhere.
    `redraw(t)` returns the batches of iteration t = 1, 2, ... for a pruner with the option `fresh_batches`.
    Without it, all iterations use the given batches.
    `images_at_once` limits the inputs per forward pass if that changes no score beyond rounding: if a score is a sum
    over inputs and none depends on another, as they do with batch norm in train mode. 0 means whole batches.
    If a GPU's memory does not suffice, scores are computed again: in smaller passes where that is exact, else with
    activations in the host's memory (`Pruning.how` records it). torch.OutOfMemoryError is raised if neither helps.
    The weights and the global random state are left as they were: the work is done on a copy, in float32 if the model
    has half precision. Masks are named like the given model's parameters, `nn.DataParallel` and other wrappers
    included, and weights masked by torch.nn.utils.prune stay pruned.
    `Pruning.weights` holds the new values of all prunable weights of a pruner that updates what it keeps
    (`Pruner.update`): put them into the model before it is used with the masks (`pruners.put_weights`).
    Warns (PruningWarning) if more than 5 % of the kept weights are kept for their position, because their scores tie
    with those of pruned ones; `Pruning.tied` is the share. Raises PruningError if all scores are equal.
    Raises PruningError, with the reason, for a request that cannot be met or scores that are not one finite number per
    weight.
    """
    chosen, label = read_pruner(pruner)
    settings = chosen.settings(scope, schedule, iterations, mode, options, granularity)
    require_allowed(chosen, label, ablation, granularity)
    target = asked_compression(compression, kappa, bool(alive))
    if batches is not None and isinstance(model, nn.Module) and candidates(model):
        labelled = chosen.needs_data or not is_ours(chosen)
        batches = read_batches(batches, labelled=labelled, first=not labelled)
        if batches:
            discover(model, batches[0][0])
    working = working_copy(model)
    if chosen.update and plain_copy(working)[0] is not working:
        raise PruningError(f"Pruner {label} updates weights, so it needs a model without parametrizations of them.")
    data = batches_for(batches, chosen, label, working)
    given = masks_of_torch(working)
    given |= {name: mask & given.get(name, torch.ones_like(mask)) for name, mask in (alive or {}).items()}
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(working).items()} | given
    start = masks if given else None
    choose = selector(granularity, working, float(1 / target), kappa, chosen.whole_filters)
    generator = _stream(seed)
    scores: dict[str, Tensor] = {}
    updated: dict[str, Tensor] = {}
    memory = Memory(images=images_at_a_time(images_at_once))
    tied = 0.0
    for number, density in enumerate(_falling(masks, settings, target)):
        if number and redraw and settings.options.get(FRESH_BATCHES):
            data = batches_for(redraw(number), chosen, label, working)
        asked = {"mode": settings.mode, "generator": generator, **settings.options}
        if chosen.takes_masks:
            asked["masks"] = masks
        else:
            apply_masks(working, masks)
        compute = partial(_scored, masks, chosen, label, working, data, **asked)
        restore = partial(
            _restore, working, model, updated, {} if chosen.takes_masks else masks, generator, generator.get_state()
        )
        score = partial(memory.run, compute, restore)
        scores = share(score) if share and settings.iterations == 1 and not alive else score()
        if not number and not given and density < 1:
            _require_different(scores, label)
        merits = inverted(scores) if ablation == "invert" else scores
        before = start if chosen.revives else masks
        masks = choose(merits, density, before, settings.scope)
        tied = _tied(merits, masks, before, settings) if density < 1 else 0.0
        if chosen.update and density < 1:
            update = partial(chosen.update, working, data, masks, before=before, generator=generator, settings=settings)
            masks, updated = memory.run(update, restore)
            put_weights(working, updated)
    if tied > MANY_TIED:
        _warn_of_ties(tied, label)
    if ablation == "shuffle":
        masks = _shuffled(masks, layers(working), seed)
    updated = {name: value.to(model.get_parameter(name).dtype) for name, value in updated.items()}
    return Pruning(masks, scores, updated, memory.how, tied)


def _restore(
    working: nn.Module,
    model: nn.Module,
    updated: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    generator: torch.Generator,
    state: Tensor,
) -> None:
    """Restore the working copy and the generator to their state before a score that did not finish."""
    for ours, theirs in zip(working.modules(), model.modules(), strict=True):
        ours.training = theirs.training
    with torch.no_grad():
        for mine, given in zip(all_tensors(working), all_tensors(model), strict=True):
            mine.grad = None
            mine.copy_(given)
    put_weights(working, updated)
    apply_masks(working, masks)
    generator.set_state(state)


def _scored(
    weights: Mapping[str, Tensor], pruner: Pruner, label: str, model: nn.Module, data: Sequence[Batch], **settings: Any
) -> dict[str, Tensor]:
    """Compute the scores and check that there is one per weight; scores that are shared are not checked again."""
    try:
        scores = of_plain_weights(pruner.score)(model, data, **settings)
    except Exception as error:
        # If our own score fails, the cause is the network or its inputs. A user's score is best debugged by traceback.
        if isinstance(error, (PruningError, *OF_THE_MACHINE)) or is_out_of_memory(error) or not is_ours(pruner):
            raise
        on = f" on inputs {list(data[0][0].shape)} of {data[0][0].dtype}".replace("torch.", "") if data else ""
        raise PruningError(f"Pruner {label} cannot score this model{on}: {in_one_line(error)}.") from error
    if not isinstance(scores, Mapping):
        raise PruningError(f"A score must return a mapping from layer names to tensors, not a {type(scores).__name__}.")
    if layers := ", ".join(sorted(scores.keys() ^ weights.keys())):
        raise PruningError(f"Scores and prunable weights must cover the same layers; only one of them has {layers}.")
    for name, weight in weights.items():
        if not isinstance(scores[name], Tensor):
            raise PruningError(
                f"The scores of layer {name!r} are a {type(scores[name]).__name__}; they must be a tensor."
            )
        if scores[name].shape != weight.shape:
            shapes = f"{list(scores[name].shape)}; it must be {list(weight.shape)}, that of its weights"
            raise PruningError(f"The scores of layer {name!r} have the shape {shapes}.")
    return {name: scores[name].detach().to(weights[name].device) for name in scores}


def _require_different(scores: Mapping[str, Tensor], label: str) -> None:
    """Raise PruningError if all scores are equal: positions alone would decide which weights are kept."""
    finite = [score for score in scores.values() if score.numel() and not score.is_complex()]
    ends = [end.item() for score in finite for end in score.aminmax()]
    count = sum(score.numel() for score in finite)
    if count < 2 or min(ends) != max(ends) or not math.isfinite(ends[0]):  # `select` reports scores that are not finite
        return
    cause = (
        "No weight changes what this score measures: look for a loss or an output that does not depend on the inputs, "
        "layers that start at zero, activations that are always zero, numbers that underflow."
        if ends[0] == 0
        else "Look for layers whose weights are all equal, and for a score that is a constant."
    )
    raise PruningError(f"All {count} scores of pruner {label} are {ends[0]:g}, so a mask would be arbitrary. {cause}")


def _tied(
    scores: Mapping[str, Tensor], masks: Mapping[str, Tensor], alive: Mapping[str, Tensor] | None, settings: Settings
) -> float:
    """Return `tied_share` of the weights that were alive; 0 for filters and n:m, which do not compete as weights."""
    if settings.granularity != "weight":
        return 0.0
    if alive and settings.scope == "row":  # rows keep their shape; what was pruned before ties with nothing
        scores = {name: score.masked_fill(~alive[name], math.inf) for name, score in scores.items()}
    elif alive:
        masks = {name: mask[alive[name]] if name in alive else mask for name, mask in masks.items()}
        scores = {name: score[alive[name]] if name in alive else score for name, score in scores.items()}
    return tied_share(scores, masks, settings.scope)


def _shuffled(masks: Mapping[str, Tensor], parts: Parts, seed: int) -> dict[str, Tensor]:
    return joined(shuffled(per_layer(masks, parts), _stream(seed, "shuffle")), parts)


def _warn_of_ties(tied: float, label: str) -> None:
    warnings.warn(
        f"{100 * tied:.1f} % of the weights that pruner {label} kept have scores that tie with those of pruned ones: "
        "only their position decided which of them are kept.",
        PruningWarning,
        stacklevel=4,
    )


def _falling(masks: Mapping[str, Tensor], settings: Settings, density: Fraction) -> list[Density]:
    """Return the densities of the schedule, which falls from that of `masks`; the last is `density` itself."""
    n = sum(mask.numel() for mask in masks.values())
    now = Fraction(sum(int(mask.count_nonzero()) for mask in masks.values()), n)
    if density > now:
        asked, alive = float(density), float(now)
        raise PruningError(f"Density {asked:g} was asked for, but only {alive:g} of the weights are alive.")
    steps = [float(now) * step for step in densities(settings.schedule, float(density / now), settings.iterations)[:-1]]
    if settings.schedule == "linear":
        # As the published SynFlow program does, prune 503 of 503.9999 weights before the last iteration: its masks
        # (tests/golden) depend on it.
        return [*(Fraction(n - math.floor((1 - step) * n), n) for step in steps), density]
    return [*steps, density]


def _called_like(pattern: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Give a function the signature of `pattern`, for readers and type checkers alike."""
    return lambda function: update_wrapper(function, pattern, assigned=())


@_called_like(find)
def prune(*asked: Any, **settings: Any) -> dict[str, Tensor]:
    """Return only the masks of `find`: parameter name -> bool tensor (True = kept), in the model's order."""
    return find(*asked, **settings).masks


def _stream(seed: int, purpose: str = "") -> torch.Generator:
    # Not the seed itself: weights initialised from the same seed would be drawn from the same random numbers as
    # random scores, and "random" would keep the largest weights.
    digest = hashlib.sha256(f"pruners/{seed}{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
