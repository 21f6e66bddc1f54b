"""From a model and a pruner to masks: score, select, zero, again."""

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from pruners.ablations import ABLATIONS, inverted, shuffled
from pruners.errors import PruningError, require_known
from pruners.granularity import selector
from pruners.masks import apply_masks
from pruners.memory import Memory
from pruners.products import discover
from pruners.pruner import Batch, Pruner, Settings
from pruners.registry import lookup
from pruners.reparametrised import of_plain_weights
from pruners.schedules import densities
from pruners.weights import joined, layers, per_layer, prunable

P = ParamSpec("P")
T = TypeVar("T")
Scoring = Callable[[], dict[str, Tensor]]  # parameter name -> scores


@dataclass(frozen=True)
class Pruning:
    """Masks (parameter name -> bool, True = kept) and the scores of the last iteration that drew them."""

    masks: dict[str, Tensor]
    scores: dict[str, Tensor]
    how: str = ""  # the scores were taken, see `pruners.memory.Memory.how`; "" if none were taken here


def find(
    model: nn.Module,
    pruner: str | Pruner,
    compression: float | None = None,
    batches: Iterable[Batch] | None = None,
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
    images_at_once: int = 0,
) -> Pruning:
    """Masks that keep n - floor((1 - 1/compression) n) of the model's n prunable weights, and their scores.

    `batches` holds pairs of inputs (N, ...) and integer labels (N,), on any device; data-driven scores add up
    over them, others need none, SynFlow one for its input shape. Settings left at None are the pruner's own
    (`Pruner.settings` has the rules). `seed` decides every random number drawn. `ablation` is a sanity check
    (`pruners.ablations`): "shuffle" permutes each final mask inside its layer, "invert" keeps the lowest
    scores instead of the highest, in every iteration; "reinitialize" is up to who trains and changes no mask.
    `granularity` says what goes as one: weights, filters, n of m in a row; the count above is met exactly by
    weights, and as `pruners.granularity.selector` says by the others. `kappa` asks, instead of a compression, for
    the share of filters to remove, by a granularity of filters: floor(kappa n) of the n filters that are not logits,
    lowest first, a best one left in every layer; the compression is then what comes of it.
    `alive` holds the masks of an earlier pruning: what it dropped stays dropped, and the schedule falls from
    the density that it left to the one asked for, which is still a fraction of all weights.
    `share` is called in place of a scoring that no compression enters, with the scoring, and returns what that
    returns: it may have it from elsewhere.
    `images_at_once` limits how many inputs a forward pass takes, where that changes no score beyond rounding: where a
    score is a sum over inputs and none depends on another, as batch norm in train mode makes them. 0 is whole batches.
    Where a GPU's memory does not suffice, scores are taken again: in smaller passes where that is exact, and else with
    activations in the host's memory (`Pruning.how` says so); torch.OutOfMemoryError is raised if neither helps.
    The model and the global random state are left as they were: the work is done on a copy.
    Raises PruningError for a request that cannot be met or scores that are not one finite number per weight, naming it.
    """
    chosen = lookup(pruner) if isinstance(pruner, str) else pruner
    settings = chosen.settings(scope, schedule, iterations, mode, options, granularity)
    require_known("ablation", ablation, ABLATIONS)
    if ablation == "shuffle" and granularity != "weight":
        raise PruningError(f'Ablation "shuffle" moves single weights; granularity {granularity!r} keeps them together.')
    target = _asked(compression, kappa)
    if images_at_once < 0:
        raise PruningError(f"images_at_once is {images_at_once}; it must be at least 0, which is whole batches.")
    if kappa and alive:
        raise PruningError("kappa is a share of all filters: it does not go on from the masks of an earlier pruning.")
    data = tuple(batches or ())
    if (chosen.needs_data or chosen.needs_input) and not data:
        raise PruningError(f"Pruner {pruner!r} scores on data: pass batches=[(inputs, labels), ...], at least one.")
    if data:
        discover(model, data[0][0])
    working = copy.deepcopy(model)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(working).items()}
    masks |= alive or {}
    if not masks:
        raise PruningError(
            "The model has no convolution, linear, attention or recurrent layer, so there is no weight to prune. Of "
            "other modules `mark_prunable(model, example)` finds the weights, and so does a call with batches."
        )
    choose = selector(granularity, working, 1 / target, kappa)
    generator = _stream(seed)
    scores: dict[str, Tensor] = {}
    memory = Memory(images=images_at_once)
    for density in _falling(masks, settings, target):
        if chosen.takes_masks:
            extra = {"masks": masks}
        else:
            extra = {}
            apply_masks(working, masks)
        given = {"mode": settings.mode, "generator": generator, **extra, **settings.options}
        compute = partial(_scored, masks, of_plain_weights(chosen.score), working, data, **given)
        restore = partial(
            _restore, working, model, {} if chosen.takes_masks else masks, generator, generator.get_state()
        )
        score = partial(memory.run, compute, restore)
        scores = share(score) if share and settings.iterations == 1 and not alive else score()
        merits = inverted(scores) if ablation == "invert" else scores
        masks = choose(merits, density, alive if chosen.revives else masks, settings.scope)
    if ablation == "shuffle":
        parts = layers(working)
        masks = joined(shuffled(per_layer(masks, parts), _stream(seed, "shuffle")), parts)
    return Pruning(masks, scores, memory.how)


def _restore(
    working: nn.Module, model: nn.Module, masks: Mapping[str, Tensor], generator: torch.Generator, state: Tensor
) -> None:
    """Make the working copy and the generator what they were before a score that did not come to its end."""
    for ours, theirs in zip(working.modules(), model.modules(), strict=True):
        ours.training = theirs.training
    with torch.no_grad():
        for mine, given in zip(_tensors(working), _tensors(model), strict=True):
            mine.grad = None
            mine.copy_(given)
    apply_masks(working, masks)
    generator.set_state(state)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _scored(weights: Mapping[str, Tensor], score: Callable[..., Any], /, *given: Any, **settings: Any) -> Any:
    """What the score returns, if that is a score per weight: before it is kept for others, who take it as it is."""
    scores = score(*given, **settings)
    if not isinstance(scores, Mapping):
        raise PruningError(f"A score returns a tensor per layer, by name, and not a {type(scores).__name__}.")
    if layers := ", ".join(sorted(scores.keys() ^ weights.keys())):
        raise PruningError(f"Scores and prunable weights must be of the same layers; only one of them has {layers}.")
    for name, weight in weights.items():
        if scores[name].shape != weight.shape:
            shapes = f"{list(scores[name].shape)}, and not {list(weight.shape)} as its weights"
            raise PruningError(f"The scores of layer {name!r} are of shape {shapes}.")
    return scores


def _falling(masks: Mapping[str, Tensor], settings: Settings, density: float) -> list[float]:
    """The densities of the schedule from that of `masks` on; the last is `density` to the bit."""
    n = sum(mask.numel() for mask in masks.values())
    now = sum(int(mask.count_nonzero()) for mask in masks.values()) / n
    if density > now:
        raise PruningError(f"Density {density:g} was asked for, but only {now:g} of the weights are alive.")
    return [now * step for step in densities(settings.schedule, density / now, settings.iterations)[:-1]] + [density]


def _asked(compression: float | None, kappa: float) -> float:
    """What is to be kept: of the weights, or of the filters by kappa. Raises PruningError if that is no share."""
    if (compression is None) == (not kappa):
        raise PruningError("Ask for a compression of at least 1 (dense), or for a kappa above 0: for one of the two.")
    if not 0 <= kappa < 1:
        raise PruningError(f"The kappa is {kappa}; it must be at least 0 and below 1, a share of the filters.")
    if compression is not None and not 1 <= compression < math.inf:
        raise PruningError(f"The compression is {compression}; it must be a finite number of at least 1 (dense).")
    return 1 / compression if compression else 1 - kappa


def _called_like(pattern: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Gives a function the arguments of `pattern`, for readers and type checkers alike."""
    return lambda function: update_wrapper(function, pattern, assigned=())


@_called_like(find)
def prune(*asked: Any, **settings: Any) -> dict[str, Tensor]:
    """The masks alone: parameter name -> bool tensor (True = kept), in the model's order. Called like `find`."""
    return find(*asked, **settings).masks


def _stream(seed: int, purpose: str = "") -> torch.Generator:
    # Not the seed itself: weights initialised from the same one would be drawn from the very numbers that
    # random scores are, and "random" would keep the largest weights.
    digest = hashlib.sha256(f"pruners/{seed}{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
