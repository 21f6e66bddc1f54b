"""Catalog of everything that a space may name, collected from the registries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.planning.given_masks import find_masks
from pruners import GRANULARITIES, MODES, PRUNERS, SCHEDULES, SCOPES, lookup
from search_spaces import Catalog, presets
from search_spaces.catalog import MaskTraits
from trainables import architectures, datasets
from trainables.architectures import ARCHITECTURES
from trainables.architectures.initialisation import INITIALISATIONS
from trainables.datasets import AUGMENTATIONS, DATASETS, OWN
from trainables.measures import MEASURES
from trainables.metrics import METRICS, OBJECTIVES


def catalog(cache: Path = Path("results/data"), mask: Callable[[str], MaskTraits] | None = None) -> Catalog:
    """Return the registries of pruners and trainables as one record.

    `cache` is the folder for datasets that must be downloaded before their facts are known; `mask` finds the masks that
    a space names, by default only those in files.
    """
    return Catalog(
        pruners=PRUNERS,
        architecture=architectures.lookup,
        dataset=partial(datasets.lookup, cache=cache),
        granularities=GRANULARITIES,
        scopes=SCOPES,
        schedules=SCHEDULES,
        modes=MODES,
        mask=mask or partial(find_masks, tracking_uri=""),
        custom=lookup,
        measures=MEASURES,
        objectives=OBJECTIVES,
    )


def show_catalog(console: Console) -> None:
    """Print presets, pruners, architectures, datasets, measures and their choices, with a summary line each."""
    rooms = {
        "presets": presets(),
        "pruners": {name: _cited(pruner.summary, pruner.paper) for name, pruner in PRUNERS.items()},
        "architectures": {name: architecture.summary for name, architecture in ARCHITECTURES.items()},
        "datasets": {name: spec.summary for name, spec in DATASETS.items()} | OWN,
        "initialisations": {name: how.summary for name, how in INITIALISATIONS.items()},
        "augmentations": {name: how.summary for name, how in AUGMENTATIONS.items()},
        "measures": {name: _cited(measure.summary, measure.paper) for name, measure in MEASURES.items()},
        "metrics": {name: metric.summary for name, metric in METRICS.items()},
    }
    width = max(len(name) for room in rooms.values() for name in room)
    for title, room in rooms.items():
        console.print(title, style="bold")
        if not console.is_terminal:  # one whole line each, for grep
            for name, summary in room.items():
                console.print(f"{name:<{width}} {summary}", markup=False, highlight=False, soft_wrap=True)
            console.print()
            continue
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(min_width=width, no_wrap=True, style="cyan")
        table.add_column()
        for name, summary in room.items():
            table.add_row(name, summary)
        console.print(table, "", highlight=False)


def _cited(summary: str, paper: str) -> str:
    return f"{summary} ({paper.partition(',')[0]})" if paper else summary
