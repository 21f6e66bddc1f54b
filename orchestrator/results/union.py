"""The cells of several sweeps as one grid: what a space left unsaid, because it did not vary there, said again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from search_spaces import Cell, Trial
from search_spaces.labels import MARK, marked, marks, short
from search_spaces.network import COMMON
from search_spaces.point import SHARED
from search_spaces.trial import TOLD, version

if TYPE_CHECKING:
    from orchestrator.results.row import Row


OF_PRUNERS = (*SHARED, "options", "mask")  # what belongs to a pruner: it tells labels apart, not panels
# What the names of architectures, datasets and pruners say, with a hash where versions of one file differ.
IN_NAMES = ("architecture_options", "architecture_code", "data_digest", "code", *COMMON)
OF_PANELS = tuple(name for name in Trial.model_fields if name not in (*TOLD, *OF_PRUNERS, *IN_NAMES))


def unite(sweeps: Sequence[Sequence[Cell]], trials: Mapping[str, Trial]) -> tuple[Cell, ...]:
    """Each cell once, oldest sweep first, with every field of the recipe that differs anywhere among its settings.

    A cell records only what its own space varies: two sweeps that differ in their epochs would else look like two seeds
    of one question, and `synflow` of 100 iterations like `synflow` of one. What a search chose is "searched": its
    choices are not the question.
    """
    everyone = [(cell, trials[cell.fingerprint]) for cells in sweeps for cell in cells]
    varied = [name for name in OF_PANELS if len({_value(name, cell, trial) for cell, trial in everyone}) > 1]
    named = _named(sweeps, trials)
    meanings = [_meanings(cells, trials) for cells in named]
    united: dict[str, Cell] = {}
    for cells, meaning in zip(named, meanings, strict=True):
        for cell in cells:
            trial = trials[cell.fingerprint]
            settings = cell.settings | {name: _value(name, cell, trial) for name in varied}
            label = _label(cell.pruner, meaning, meanings)
            full = cell.model_copy(update={"settings": settings, "pruner": label})
            united.setdefault(full.model_dump_json(), full)
    return tuple(united.values())


def _named(sweeps: Sequence[Sequence[Cell]], trials: Mapping[str, Trial]) -> list[list[Cell]]:
    """The cells under names that are one thing in all sweeps: versions of a user's own file or folder have a hash."""
    own = [_pruner_versions(cells, trials) for cells in sweeps]
    everyone = [(cell, trials[cell.fingerprint]) for cells in sweeps for cell in cells]
    architectures = marks((trial.architecture, version(trial.architecture_code)) for _, trial in everyone)
    datasets = marks((MARK.sub("", cell.dataset), trial.data_digest) for cell, trial in everyone)
    pruners = marks(found for labels in own for found in labels.values())

    def named(cell: Cell, labels: Mapping[str, tuple[str, str]]) -> Cell:
        trial = trials[cell.fingerprint]
        data = MARK.sub("", cell.dataset)
        network = trial.architecture, version(trial.architecture_code)
        names = {"dataset": marked(data, data, datasets[data, trial.data_digest])}
        names["architecture"] = marked(cell.architecture, network[0], architectures[network])
        if cell.pruner in labels:
            made_by = labels[cell.pruner]
            names["pruner"] = marked(cell.pruner, made_by[0], pruners[made_by])
        return cell.model_copy(update=names)

    return [[named(cell, labels) for cell in cells] for cells, labels in zip(sweeps, own, strict=True)]


def _pruner_versions(cells: Iterable[Cell], trials: Mapping[str, Trial]) -> dict[str, tuple[str, str]]:
    """The name and the version of the file that each label of one sweep stands for; at 1x trials have no pruner."""
    pruned = ((cell.pruner, trials[cell.fingerprint]) for cell in cells)
    return {label: (trial.pruner, version(trial.code)) for label, trial in pruned if trial.pruner != "dense"}


def _meanings(cells: Iterable[Cell], trials: Mapping[str, Trial]) -> dict[str, dict[str, Any]]:
    """What each label stands for in one sweep: the pruning settings that its trials have in common."""
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        trial = trials[cell.fingerprint]
        if trial.pruner != "dense":
            own = {key: _text(getattr(trial, key)) for key in OF_PRUNERS}
            own["mask"] = "given" if trial.mask else "computed"  # which it is tells seeds apart, not labels
            own |= {key: "searched" for key in OF_PRUNERS if f"pruner.{key}" in cell.searched}
            common = found.setdefault(cell.pruner, own)
            found[cell.pruner] = {key: value for key, value in common.items() if own[key] == value}
    return found


def _label(label: str, own: Mapping[str, dict[str, Any]], all_sweeps: Sequence[Mapping[str, dict[str, Any]]]) -> str:
    """The label, with the settings in which another sweep means something else by it."""
    mine = own.get(label, {})
    others = [meaning[label] for meaning in all_sweeps if label in meaning]
    differing = [key for key in mine if any(key in other and other[key] != mine[key] for other in others)]
    return " ".join([label, *(f"{key}={mine[key]}" for key in differing)])


def _value(name: str, cell: Cell, trial: Trial) -> Any:
    """A field of the recipe as a cell's question has it."""
    return "searched" if name in cell.searched else _text(getattr(trial, name))


def _text(value: Any) -> Any:
    """A field's value as something that can be compared, counted and shown."""
    if isinstance(value, dict):
        return " ".join(f"{key}={short(inner)}" for key, inner in sorted(value.items()))
    text = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return short(text) if isinstance(text, str) else text


def placed(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, with those pruned by kappa at the compression that came of it: the mean over finished seeds, to three
    significant digits, so that seeds are one point. Where no seed has finished it stays 0: not known.
    """
    reached: dict[str, list[float]] = {}
    for row in rows:
        if row.cell.kappa and row.status == "finished":
            reached.setdefault(_question(row.cell), []).append(row.metrics["model/compression"])
    means = {question: float(f"{fmean(found):.3g}") for question, found in reached.items()}
    return tuple(
        replace(row, cell=row.cell.model_copy(update={"compression": means[_question(row.cell)]}))
        if row.cell.kappa and _question(row.cell) in means
        else row
        for row in rows
    )


def _question(cell: Cell) -> str:
    """All but the seed, and what follows from it."""
    return cell.model_dump_json(exclude={"seed", "fingerprint"})
