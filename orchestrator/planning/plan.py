"""Plan of a sweep, made from a space: cells, unique trials, shared stages, and which trials are done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache as memory
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.planning import given_masks
from orchestrator.planning.catalog import catalog
from orchestrator.planning.check_networks import outline, require_networks, weight_files
from orchestrator.planning.check_pruners import require_compatible
from orchestrator.planning.given_masks import GivenMasks
from orchestrator.planning.seed_plan import SeedPlan, split_seeds
from orchestrator.planning.study_plan import StudyPlan
from pruners import prunable
from search_spaces import Cell, EarlyStopping, Grid, Network, Space, SpaceError, Trial, expand, stage, studies
from search_spaces.trial import data_label
from trainables import datasets
from trainables.datasets.batches import steps_per_epoch
from trainables.sparse_training import dynamics
from trainables.training.trainer import pruner_of

MOST = 100_000  # points of a grid; each takes 9 kB of memory and a millisecond to plan
MANY = 10_000  # points from which on the user is told before they are planned


def size_words(space: Space) -> str:
    """Return one line about a grid that takes long to plan; "" for any other.

    Raises:
        SpaceError: in one sentence, if the grid is too large for one sweep.
    """
    if space.size <= MANY:
        return ""
    axes = " x ".join(f"{len(values):,} {key}" for key, values in space.axes.items() if len(values) > 1)
    many = f"{space.size:,} cells ({axes}), and up to as many trials"
    if space.size > MOST:
        raise SpaceError(f"space: {many}; a sweep has at most {MOST:,}: list fewer values, or write several spaces")
    return f"{many}: planning them takes about {space.size / 1000:.0f} s and {space.size * 9e-6:.1f} GB"


@dataclass(frozen=True)
class Stage:
    """Something that several cells or trials share; computed once, or once for each network and seed."""

    # "data": a decoded dataset; "mask": given masks; "dense": the trial at 1x; "pretrain": weights; "scores"
    kind: str
    name: str
    serves: int  # cells (dense) or trials (the others) that would each compute it otherwise
    times: int = 1  # how often it is computed: once for each network and seed


@dataclass(frozen=True)
class Plan:
    """A sweep before it runs. `trials` are unique by fingerprint and in the order of the space."""

    space: str
    description: str
    varied: tuple[str, ...]
    cells: tuple[Cell, ...]
    trials: tuple[Trial, ...]
    stages: tuple[Stage, ...]
    done: frozenset[str]
    notices: tuple[str, ...]
    weight_files: Mapping[str, Path] = field(default_factory=dict)  # pretrained weights, by their name in trial records
    masks: Mapping[str, GivenMasks] = field(default_factory=dict)  # given masks, by their name in trial records
    search: StudyPlan | None = None  # the search, whose trials are not known in advance
    early_stopping: EarlyStopping | None = None
    seeds: SeedPlan | None = None  # further seeds, of which not all will run
    written: Mapping[str, Any] = field(default_factory=dict)  # the space as given, by which it can be run again

    @property
    def todo(self) -> tuple[Trial, ...]:
        """Return the trials that are not done."""
        return tuple(trial for trial in self.trials if trial.fingerprint not in self.done)

    @property
    def pretraining(self) -> tuple[Trial, ...]:
        """Return the dense trials from whose weights the trials to do start. They may be outside the plan."""
        stages = [stage(trial) for trial in self.todo]
        return tuple({dense.fingerprint: dense for dense in stages if dense is not None}.values())

    @property
    def shared_scores(self) -> frozenset[str]:
        """Return the scores, as named by `Trial.scoring`, that at least two trials to do share, or that may come."""
        trials = (*self.todo, *(self.seeds.trials if self.seeds else ()))
        return frozenset(name for name, some in _scorings(trials).items() if len(some) > 1)

    @property
    def started(self) -> tuple[Trial, ...]:
        """Return the stages and trials that are sure to run; a search may add more."""
        return (*self.pretraining, *self.todo)

    @property
    def examples(self) -> tuple[Trial, ...]:
        """Return trials that represent those which a search will choose, at both ends of each range."""
        return tuple(self.search.examples()) if self.search else ()

    @property
    def to_choose(self) -> int:
        """Return the most trials that a search may choose, or that further seeds may need."""
        return len(self.seeds.trials) if self.seeds else self.search.budget if self.search else 0

    @property
    def with_most_seeds(self) -> Plan:
        """Return the plan in which every cell that is compared gets the most seeds; none of its trials is done."""
        if self.seeds is None:
            return replace(self, done=frozenset())
        more = self.seeds
        cells, trials = (*self.cells, *more.cells), (*self.trials, *more.trials)
        return replace(self, cells=cells, trials=trials, seeds=None, done=frozenset())

    def after(self, finished: Collection[str]) -> Plan:
        """Return the same plan with the trials in `finished` (fingerprints) done."""
        return replace(self, done=frozenset(finished) & {trial.fingerprint for trial in self.trials})

    def record(self) -> dict[str, Any]:
        """Return the plan as the JSON artifact of the sweep's run, from which reports read its cells and trials."""
        return {
            "space": self.space,
            "description": self.description,
            "varied": list(self.varied),
            "cells": [cell.model_dump(mode="json") for cell in self.cells],
            "trials": {trial.fingerprint: trial.model_dump(mode="json") for trial in self.trials},
            **({"search": self.search.record()} if self.search else {}),
            **({"until": self.seeds.record()} if self.seeds else {}),
            **({"early_stopping": self.early_stopping.rule} if self.early_stopping else {}),
            **({"masks": [given.words for given in self.masks.values()]} if self.masks else {}),
        }


def plan(
    space: Space,
    data_root: Path | None = None,
    cache: Path = Path("results/data"),
    force: bool = False,
    tracking_uri: str = "",
) -> Plan:
    """Expand `space` and check everything that can be checked before a trial runs. Writes nothing.

    `data_root` and `cache` are the folders of datasets. `force` turns errors about meaningless pairs of pruner and
    network into notices. `tracking_uri` is the store of the runs whose masks a space may name. No trial counts as done
    yet; `Plan.after` sets that.

    Raises:
        SpaceError, DatasetError: in one sentence, if the space names something unknown or asks for the impossible.
    """
    masks = memory(partial(given_masks.find_masks, tracking_uri=tracking_uri))
    names = catalog(cache, masks)
    size_words(space)  # before memory is used
    expand(space, names)  # reject unknown names before looking for data
    space, notices = _with_data_at_hand(space, data_root, cache)
    cells, trials = expand(space, names)
    first = split_seeds(space.until, cells, trials) if space.until else None
    search = StudyPlan(Grid(space, names), studies(space, names))
    examples = tuple({trial.fingerprint: trial for trial in (*trials, *search.examples())}.values())
    for trial in examples:
        _require_possible(trial)
    files = weight_files(space)
    notices += require_networks(examples, files, force)
    pruned = [trial for trial in examples if trial.pruner != "dense"]
    given = {found.fields["mask"]: found for found in map(masks, space.axes.get("mask", ()))}
    given_masks.require_fitting(pruned, given)
    notices += require_compatible((trial for trial in pruned if not trial.mask), force)
    if first is not None:  # all were checked; the further ones run where they are needed
        cells, trials, _ = first
    return Plan(
        space=space.name,
        description=space.description,
        varied=space.varied,
        cells=cells,
        trials=trials,
        stages=_stages(cells, trials, given),
        done=frozenset(),
        notices=notices,
        weight_files=files,
        masks=given,
        search=search if search.studies else None,
        early_stopping=space.early_stopping,
        seeds=first[2] if first else None,
        written=space.written,
    )


def _require_possible(trial: Trial) -> None:
    """Reject a trial that is certain to fail when it runs.

    Raises:
        SpaceError: naming the field, its value and the limit.
    """
    data = datasets.lookup(trial.dataset)
    images, per_class = datasets.training_part(data, trial.validation)
    limits = {
        "compression": (trial.compression, _weights(trial.network, trial.dataset), "weights that can be pruned"),
        "batch_size": (trial.batch_size, images, "training images"),
    }
    if trial.pruner != "dense" and not trial.mask and pruner_of(trial).needs_data:
        limits["samples_per_class"] = (trial.samples_per_class, per_class, "images in some class to score on")
    for key, (value, limit, what) in limits.items():
        if value > limit:
            where = trial.network.label if key == "compression" else trial.dataset
            raise SpaceError(f"{key}: {value:g} is not allowed; {where} has no more than {limit} {what}")
    dynamics(trial, steps_per_epoch(images, trial.batch_size))


def _weights(network: Network, dataset: str) -> int:
    return sum(weight.numel() for weight in prunable(outline(network, dataset)).values())


def _with_data_at_hand(space: Space, data_root: Path | None, cache: Path) -> tuple[Space, tuple[str, ...]]:
    """Replace datasets that are missing by their stand-ins; return the space and notices for the user."""
    found = [datasets.resolve(name, data_root, cache) for name in space.axes["dataset"]]
    described = tuple(
        f"dataset: {name}: {datasets.lookup(name).summary}" for name in found if datasets.lookup(name).digest
    )
    notices = described + tuple(
        f"dataset: '{asked}' is not there; this sweep runs on its stand-in '{got}', and every result names it "
        f"({datasets.lookup(got).summary})"
        for asked, got in zip(space.axes["dataset"], found, strict=True)
        if datasets.lookup(asked).name != got
    )
    return replace(space, axes={**space.axes, "dataset": tuple(dict.fromkeys(found))}), notices


def _stages(cells: Collection[Cell], trials: Collection[Trial], masks: Mapping[str, GivenMasks]) -> tuple[Stage, ...]:
    stages = []
    for name, serves in Counter(trial.dataset for trial in trials).items():
        stages.append(Stage("data", name, serves))
    of_mask = Counter(trial.mask for trial in trials)
    for digest, given in masks.items():
        stages.append(Stage("mask", given.words, of_mask[digest]))
    of_trial = Counter(cell.fingerprint for cell in cells)
    dense = [(trial, of_trial[trial.fingerprint]) for trial in trials if trial.pruner == "dense"]
    stages += _alike("dense", [(_place(trial), serves) for trial, serves in dense if serves > 1])
    starts = {start.fingerprint: start for trial in trials if (start := stage(trial)) is not None}
    of_start = Counter(start.fingerprint for trial in trials if (start := stage(trial)) is not None)
    pretrain = [(f"{_place(start)}, {start.epochs} epochs", of_start[key]) for key, start in starts.items()]
    stages += _alike("pretrain", pretrain)
    several = [users for users in _scorings(trials).values() if len(users) > 1]
    return (*stages, *_alike("scores", [(users[0].pruner, len(users)) for users in several]))


def _alike(kind: str, served: Iterable[tuple[str, int]]) -> list[Stage]:
    """Return one stage per name: the sum of the trials it serves, and how often it is computed, as for each seed."""
    found: dict[str, list[int]] = {}
    for name, serves in served:
        found.setdefault(name, []).append(serves)
    return [Stage(kind, name, sum(counts), len(counts)) for name, counts in found.items()]


def _place(trial: Trial) -> str:
    return f"{trial.network.label} {data_label(trial.dataset)}"


def _scorings(trials: Collection[Trial]) -> dict[str, list[Trial]]:
    """Return the trials by their scores, only for scores that need data: others cost less to compute than to store."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.scoring and pruner_of(trial).needs_data:
            found.setdefault(trial.scoring, []).append(trial)
    return found
