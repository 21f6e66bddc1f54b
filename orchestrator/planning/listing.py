"""What there is to choose from: `--list`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pruners import PRUNERS
from search_spaces import presets
from trainables.architectures import ARCHITECTURES
from trainables.architectures.initialisation import INITIALISATIONS
from trainables.datasets import AUGMENTATIONS, DATASETS, OWN
from trainables.measures import MEASURES


def show(console: Console) -> None:
    """Print presets, pruners, architectures, datasets, measures and what they take with a line each."""
    rooms = {
        "presets": presets(),
        "pruners": {name: _cited(pruner.summary, pruner.paper) for name, pruner in PRUNERS.items()},
        "architectures": {name: architecture.summary for name, architecture in ARCHITECTURES.items()},
        "datasets": {name: spec.summary for name, spec in DATASETS.items()} | OWN,
        "initialisations": {name: how.summary for name, how in INITIALISATIONS.items()},
        "augmentations": {name: how.summary for name, how in AUGMENTATIONS.items()},
        "measures": {name: _cited(measure.summary, measure.paper) for name, measure in MEASURES.items()},
    }
    width = max(len(name) for room in rooms.values() for name in room)
    for title, room in rooms.items():
        console.print(title, style="bold")
        if not console.is_terminal:  # a line each, whole, for grep
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
