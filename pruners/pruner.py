"""Record of a pruner: its score function, what it needs, and the settings that it was published with."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from pruners.errors import PruningError, require_known
from pruners.granularity import FILTERS, WHOLE, pattern
from pruners.schedules import SCHEDULES
from pruners.scopes import SCOPES

MODES = ("train", "eval")
FRESH_BATCHES = "fresh_batches"  # the option of a pruner that scores on other batches in each iteration

Batch = tuple[Tensor, Tensor]  # inputs (N, ...) and integer labels (N,)
Updated = tuple[dict[str, Tensor], dict[str, Tensor]]  # masks, and weights of the same names


@dataclass(frozen=True)
class Settings:
    """Settings of a pruner with every default filled in, and with nothing that the pruner ignores."""

    scope: str
    schedule: str
    iterations: int
    mode: str
    options: dict[str, Any]
    granularity: str = "weight"


@dataclass(frozen=True)
class Pruner:
    """A score function and its defaults; any scope and schedule can be combined with it.

    `score(model, batches, *, mode, generator, **options)` returns one finite score per prunable weight,
    larger meaning keep, as a tensor of the weight's shape and on its device; names and order are those of
    `prunable(model)`. It leaves the model and the global random state as it found them, and draws all random numbers
    from `generator` (on the CPU). Weights pruned in earlier iterations are zero in the model. For a score that
    `takes_masks` they keep their values instead, and the keyword argument `masks` marks them with False.

    `update(model, batches, masks, *, before, generator, settings)`, if there is one, is called with the masks that the
    scores gave, within those from `before`. It returns masks that keep as many weights of each layer, and new values of
    the prunable weights, zero where pruned, which make up for the pruned ones. The model is left as it was.
    """

    score: Callable[..., dict[str, Tensor]]
    summary: str  # one line for a list of pruners
    paper: str  # "" if there is none to cite
    needs_data: bool = False  # reads labelled batches
    needs_input: bool = False  # reads only the shape of an input
    iterates: bool = True  # scores depend on what is already pruned; if not, iterations change nothing
    uses_mode: bool = True  # scores depend on train or eval mode (batch norm, dropout)
    takes_masks: bool = False  # the score is called with masks=..., None meaning all True
    # check(model, shape of an input) raises PruningError if the pruner is not for this network, before anything trains.
    check: Callable[[nn.Module, tuple[int, ...]], None] | None = None
    update: Callable[..., Updated] | None = None  # also changes the weights that it keeps
    revives: bool = False  # a pruned weight may return in a later iteration: masks are not nested
    whole_filters: bool = False  # all weights of a filter have the filter's score: only filters can be pruned by it
    scope: str = "global"
    schedule: str = "oneshot"
    iterations: int = 1
    mode: str = "eval"
    options: Mapping[str, Any] = field(default_factory=dict)  # this method's own, with their defaults
    # The value that a record without an option stands for, if it is not the default: the older behaviour.
    unrecorded: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # option -> the words that it may be
    least: Mapping[str, float] = field(default_factory=dict)  # option -> its smallest value
    # Prunes "before" training, "early" in it, "after" it, or "during" it: then masks change while weights train.
    when: str = "before"
    by_decay: bool = False  # weight decay decides what is pruned: without any, all goes at once at the end
    levels: int = 0  # rounds of train, prune, rewind; 0 = weights are pruned as they are

    def settings(
        self,
        scope: str | None = None,
        schedule: str | None = None,
        iterations: int | None = None,
        mode: str | None = None,
        options: Mapping[str, Any] | None = None,
        granularity: str = "weight",
    ) -> Settings:
        """Fill in this pruner's defaults and drop what cannot matter, so that equal settings give equal masks.

        None means the default. With several iterations, the density of a one-shot pruner falls exponentially.
        "oneshot" without iterations means one iteration; with one iteration every schedule is "oneshot".
        n:m compares weights within a layer, so its scope is "layer" whatever is asked for. Filters have the scopes
        "global" and "layer"; of a pruner whose own scope is "row", their scope is "layer".
        Raises PruningError for unknown names, options of another type than their default or with values that are not
        allowed, fewer than 1 iteration, "oneshot" with several, or single weights by a score of `whole_filters`.
        """
        if scope is None:
            scope = "layer" if self.scope == "row" and granularity in WHOLE else self.scope
        mode = self.mode if mode is None else mode
        require_known("scope", scope, SCOPES)
        blocks = pattern(granularity)
        if self.whole_filters and granularity not in FILTERS:
            raise PruningError(
                f"It scores whole filters, so granularity {granularity!r} is not allowed: choose {', '.join(FILTERS)}."
            )
        if blocks:
            scope = "layer"
        elif granularity != "weight" and scope not in ("global", "layer"):
            raise PruningError(f'Granularity {granularity!r} has the scopes global and layer, not "{scope}".')
        require_known("mode", mode, MODES)
        if schedule is not None:
            require_known("schedule", schedule, SCHEDULES)
        for name, value in (options or {}).items():
            require_known("option of this pruner", name, self.options)
            self._require_valid(name, value)
        if iterations is None:
            iterations = 1 if schedule == "oneshot" else self.iterations
        if iterations < 1:
            raise PruningError(f"Pruning takes {iterations} iterations; it must take at least 1.")
        if schedule == "oneshot" and iterations > 1:
            raise PruningError(
                f'The schedule "oneshot" has 1 iteration, but iterations={iterations} was asked for; '
                "leave one of the two out, or choose exponential, linear or cubic."
            )
        moments = self.when == "during" and self.schedule != "oneshot"  # iterations are moments of training
        if iterations == 1 or not (self.iterates or moments):
            schedule, iterations = "oneshot", 1
        elif schedule is None:
            schedule = "exponential" if self.schedule == "oneshot" else self.schedule
        return Settings(
            scope=scope,
            schedule=schedule,
            iterations=iterations,
            mode=mode if self.uses_mode else self.mode,
            options={**self.options, **(options or {})},
            granularity=granularity,
        )

    def recorded(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options of a trial from its record; missing ones have the value used before they existed."""
        return {**self.options, **self.unrecorded, **options}

    def _require_valid(self, name: str, value: object) -> None:
        if name in self.choices:
            require_known(f"value of option {name!r}", value, self.choices[name])
        kind = type(self.options[name])
        allowed = (int, float) if kind is float else kind
        if not isinstance(value, allowed) or isinstance(value, bool) is not (kind is bool):
            raise PruningError(f"Option {name!r} is {value!r}; it must be of type {kind.__name__}.")
        if isinstance(value, int | float) and value < self.least.get(name, -math.inf):
            raise PruningError(f"Option {name!r} is {value!r}; it must be at least {self.least[name]:g}.")
