"""Recipes of published programs as data: the settings behind presets and published numbers, and how ours differ.

`search_spaces/papers/recipes/*.yaml` has a program's own settings field by field, read from its files, and every
known difference with its reason. Comparisons are always computed from these records, never made by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml

from orchestrator.report.recipe_fields import NOT_SAID, UNSAID, counterpart, same, text
from search_spaces import Cell, Trial

BY_DATASET = ("parameters", "scoring_batch")  # fields whose value may be a mapping from datasets


@dataclass(frozen=True)
class RecipeDifference:
    """One field in which our recipe differs from a program's."""

    field: str
    theirs: str
    ours: str
    why: str = ""
    where: str = ""  # the pruners, networks or datasets with this difference; "" = all

    @property
    def words(self) -> str:
        """Return the difference in one line, without the reason."""
        return f"{self.field}: {self.theirs} there, {self.ours} here"

    @property
    def line(self) -> str:
        """Return the difference with what it applies to, and why."""
        of = f"{self.where}: " if self.where else ""
        return of + self.words + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Recipe:
    """Settings of one program for one of its figures or tables. Later sections override earlier ones."""

    name: str
    program: str
    repository: str
    commit: str
    files: str
    presets: tuple[str, ...] = ()
    published: tuple[Mapping[str, Any], ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pruning: Mapping[str, Any] = field(default_factory=dict)
    pruners: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)
    known: tuple[RecipeDifference, ...] = ()  # the differences of the presets, with their reasons
    notes: tuple[Mapping[str, str], ...] = ()

    @property
    def source(self) -> str:
        """Return where it was read: repository, commit and file."""
        return f"{self.repository} at {self.commit[:7]}, {self.files}" if self.repository else self.files

    def of(self, dataset: str, architecture: str, pruner: str) -> dict[str, Any]:
        """Return the program's settings for one network, dataset and pruner, under our names."""
        parts = [{**UNSAID, **self.fields}, self.datasets.get(dataset, {}), self.networks.get(architecture, {})]
        if pruner != "dense":
            # Scoring settings of a dataset override the general ones.
            parts += [
                self.pruning,
                {k: v for k, v in parts[1].items() if k in self.pruning},
                self.pruners.get(pruner, {}),
            ]
        found = {key: value for part in parts for key, value in part.items()}
        for key in BY_DATASET:
            if isinstance(found.get(key), Mapping):
                value = found.pop(key).get(dataset)
                found |= {} if value is None else {key: value}
        return found


@dataclass(frozen=True)
class Known:
    """Facts about a published number."""

    recipe: Recipe
    architecture: str  # our name of its network
    fields: Mapping[str, Any]  # of this number, in addition to those of the recipe


@cache
def recipes() -> tuple[Recipe, ...]:
    """Return all recipes, in the order of the files."""
    folder = resources.files("search_spaces") / "papers" / "recipes"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return tuple(recipe for file in files for recipe in _read(yaml.safe_load(file.read_text("utf-8"))))


def of_preset(name: str) -> Recipe | None:
    """Return the recipe of the preset of that name; None for a user's own space."""
    return next((recipe for recipe in recipes() if name in recipe.presets), None)


def of_row(source: str, figure: str, network: str) -> Known | None:
    """Return the facts about a published number; None if its network has no name here."""
    for recipe in recipes():
        for entry in recipe.published:
            if (
                source.startswith(entry["source"])
                and figure.startswith(entry["figure"])
                and network in entry["networks"]
            ):
                return Known(recipe, entry["networks"][network], entry.get("fields", {}))
    return None


def differing_fields(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[RecipeDifference]:
    """Return the fields of both in which they differ, in the order of theirs."""
    return [
        RecipeDifference(name, text(name, value), text(name, ours[name]))
        for name, value in theirs.items()
        if name in ours and (value == NOT_SAID or not same(name, value, ours[name]))
    ]


def recipe_differences(recipe: Recipe, cells: Iterable[Cell], trials: Iterable[Trial]) -> list[RecipeDifference]:
    """Return every difference between a sweep and a recipe once, with its reason where one is recorded."""
    alike = {
        trial.model_copy(update={"seed": 0, "compression": 2.0, "kappa": 0.0}).fingerprint: trial for trial in trials
    }
    from orchestrator.report.trial_recipe import facts  # imports torch, which most reports do not need

    found: dict[RecipeDifference, list[Trial]] = {}
    knowing: dict[str, list[Trial]] = {}
    for trial in alike.values():
        theirs = recipe.of(counterpart(trial.dataset), trial.architecture, trial.pruner)
        ours = facts(trial, theirs)
        for name in theirs.keys() & ours.keys():
            knowing.setdefault(name, []).append(trial)
        for difference in differing_fields(theirs, ours):
            found.setdefault(difference, []).append(trial)
    whys = {(one.field, one.theirs, one.ours): one.why for one in recipe.known}
    told = [(one, "") for one in differing_fields(recipe.grid, _grid(cells, trials))]
    told += [(one, _where(some, knowing[one.field])) for one, some in found.items()]
    return [
        RecipeDifference(one.field, one.theirs, one.ours, whys.get((one.field, one.theirs, one.ours), ""), where)
        for one, where in told
    ]


def as_published(preset: str, cells: Iterable[Cell], trials: Iterable[Trial]) -> list[str]:
    """Return a few lines on whether a preset's sweep is as published; none for a user's own space."""
    recipe = of_preset(preset)
    if recipe is None:
        return []
    lines = [difference.line for difference in recipe_differences(recipe, cells, trials)]
    return [f"as published: {recipe.program}{', except for' if lines else ''}", *(f"    {line}" for line in lines)]


def _grid(cells: Iterable[Cell], trials: Iterable[Trial]) -> dict[str, Any]:
    """Return the values that a sweep asks for, axis by axis."""
    cells, trials = list(cells), list(trials)
    found: dict[str, Any] = {
        "dataset": sorted({counterpart(trial.dataset) for trial in trials}),
        "architecture": sorted({_network(trial) for trial in trials}),
        "seeds": len({cell.seed for cell in cells}),
    }
    if compressions := sorted({cell.compression for cell in cells if cell.compression}):
        found["compression"] = compressions
    if kappas := sorted({cell.kappa for cell in cells if cell.kappa}):
        found["kappa"] = kappas
    return found


def _network(trial: Trial) -> str:
    options = (f"{key}={value}" for key, value in trial.architecture_options.items())
    return " ".join([trial.architecture, *options])


def _where(some: list[Trial], all_: list[Trial]) -> str:
    """Return the names that distinguish `some` of the trials from the others; "" if they are all."""
    if len(some) == len(all_):
        return ""
    keys: tuple[Callable[[Trial], str], ...] = (
        lambda trial: trial.pruner,
        lambda trial: trial.architecture,
        lambda trial: trial.dataset,
        lambda trial: f"{trial.architecture} on {trial.dataset}",
    )
    for key in keys:
        names = dict.fromkeys(map(key, some))
        if sum(key(trial) in names for trial in all_) == len(some):
            return ", ".join(names)
    return "in part"


def _read(raw: Mapping[str, Any]) -> Iterable[Recipe]:
    for name, entry in raw["recipes"].items():
        listed = _flat(entry.get("differences", ()))
        sections = ("fields", "datasets", "networks", "pruning", "pruners", "grid")
        grid = dict(entry.get("grid", {}))
        for key in ("dataset", "architecture", "compression", "kappa"):
            if key in grid:
                grid[key] = sorted(grid[key])
        yield Recipe(
            name=name,
            program=raw["program"],
            repository=raw["repository"],
            commit=raw["commit"],
            files=entry.get("files", ", ".join(raw["files"])),
            presets=tuple(entry.get("presets", ())),
            published=tuple(entry.get("published", ())),
            notes=tuple(entry.get("notes", ())),
            known=tuple(RecipeDifference(**difference) for difference in listed),
            **{key: entry.get(key, {}) for key in sections} | {"grid": grid},
        )


def _flat(entries: Iterable[Any]) -> list[dict[str, str]]:
    """Return the differences as a flat list; nested lists are those that several recipes share."""
    return [one for entry in entries for one in (_flat(entry) if isinstance(entry, list) else [entry])]
