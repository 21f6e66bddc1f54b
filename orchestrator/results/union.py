"""Union of the cells of several sweeps, with the fields that one space leaves out because it does not vary them."""

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


OF_PRUNERS = (*SHARED, "options", "mask")  # fields of a pruner: they tell labels apart, not panels
# Fields that the names of architectures, datasets and pruners express, by a hash where versions of one file differ.
IN_NAMES = ("architecture_options", "architecture_code", "data_digest", "code", *COMMON)
OF_PANELS = tuple(name for name in Trial.model_fields if name not in (*TOLD, *OF_PRUNERS, *IN_NAMES))


def unite(sweeps: Sequence[Sequence[Cell]], trials: Mapping[str, Trial]) -> tuple[Cell, ...]:
    """Return each cell once, oldest sweep first, with every recipe field that differs anywhere among its settings.

    A cell records only the fields that its own space varies. Without the others, two sweeps with different epochs would
    look like two seeds of one cell, and `synflow` of 100 iterations like `synflow` of one. Fields that a search chose
    get the value "searched", because the chosen values are not part of the cell.
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
    """Return the cells with names that are unique across sweeps: versions of a user's file or folder get a hash."""
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
    """Return, for each label of one sweep, its pruner's name and file version. Trials at 1x have no pruner."""
    pruned = ((cell.pruner, trials[cell.fingerprint]) for cell in cells)
    return {label: (trial.pruner, version(trial.code)) for label, trial in pruned if trial.pruner != "dense"}


def _meanings(cells: Iterable[Cell], trials: Mapping[str, Trial]) -> dict[str, dict[str, Any]]:
    """Return what each label means in one sweep: the pruning settings that all its trials share."""
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        trial = trials[cell.fingerprint]
        if trial.pruner != "dense":
            own = {key: _text(getattr(trial, key)) for key in OF_PRUNERS}
            own["mask"] = "given" if trial.mask else "computed"  # masks differ between seeds, not labels
            own |= {key: "searched" for key in OF_PRUNERS if f"pruner.{key}" in cell.searched}
            common = found.setdefault(cell.pruner, own)
            found[cell.pruner] = {key: value for key, value in common.items() if own[key] == value}
    return found


def _label(label: str, own: Mapping[str, dict[str, Any]], all_sweeps: Sequence[Mapping[str, dict[str, Any]]]) -> str:
    """Return the label with those settings that it has otherwise in another sweep."""
    mine = own.get(label, {})
    others = [meaning[label] for meaning in all_sweeps if label in meaning]
    differing = [key for key in mine if any(key in other and other[key] != mine[key] for other in others)]
    return " ".join([label, *(f"{key}={mine[key]}" for key in differing)])


def _value(name: str, cell: Cell, trial: Trial) -> Any:
    """Return a field of the cell's recipe, or "searched" if a search chose it."""
    return "searched" if name in cell.searched else _text(getattr(trial, name))


def _text(value: Any) -> Any:
    """Return a field's value in a form that can be compared, counted and shown."""
    if isinstance(value, dict):
        return " ".join(f"{key}={short(inner)}" for key, inner in sorted(value.items()))
    text = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return short(text) if isinstance(text, str) else text


def placed(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows with those pruned by kappa placed at the compression that they reached.

    It is the mean over finished seeds, to three significant digits, so that all seeds are one point. Without a finished
    seed it stays 0, which means unknown.
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
    """Return the cell as JSON without its seed and fingerprint: equal for all seeds of one point."""
    return cell.model_dump_json(exclude={"seed", "fingerprint"})
