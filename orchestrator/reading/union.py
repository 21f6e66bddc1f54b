"""The cells of several sweeps as one grid: what a space left unsaid, because it did not vary there, said again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search_spaces import Cell, Trial
from search_spaces.point import SHARED
from search_spaces.trial import TOLD

OF_PRUNERS = (*SHARED, "options", "code", "mask")  # what belongs to a pruner: it tells labels apart, not panels
OF_PANELS = tuple(name for name in Trial.model_fields if name not in TOLD and name not in OF_PRUNERS)


def unite(sweeps: Sequence[Sequence[Cell]], trials: Mapping[str, Trial]) -> tuple[Cell, ...]:
    """Each cell once, oldest sweep first, with every field of the recipe that differs anywhere among its settings.

    A cell records only what its own space varies: two sweeps that differ in their epochs would else look like two seeds
    of one question, and `synflow` of 100 iterations like `synflow` of one. What a search chose is "searched": its
    choices are not the question.
    """
    everyone = [(cell, trials[cell.fingerprint]) for cells in sweeps for cell in cells]
    varied = [name for name in OF_PANELS if len({_value(name, cell, trial) for cell, trial in everyone}) > 1]
    meanings = [_meanings(cells, trials) for cells in sweeps]
    united: dict[str, Cell] = {}
    for cells, meaning in zip(sweeps, meanings, strict=True):
        for cell in cells:
            trial = trials[cell.fingerprint]
            settings = cell.settings | {name: _value(name, cell, trial) for name in varied}
            label = _label(cell.pruner, meaning, meanings)
            full = cell.model_copy(update={"settings": settings, "pruner": label})
            united.setdefault(full.model_dump_json(), full)
    return tuple(united.values())


def _meanings(cells: Iterable[Cell], trials: Mapping[str, Trial]) -> dict[str, dict[str, Any]]:
    """What each label stands for in one sweep: the pruning settings that its trials have in common."""
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        trial = trials[cell.fingerprint]
        if trial.pruner != "dense":
            own = {key: _text(getattr(trial, key)) for key in OF_PRUNERS} | {"code": trial.params()["code"]}
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
        return " ".join(f"{key}={inner}" for key, inner in sorted(value.items()))
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
