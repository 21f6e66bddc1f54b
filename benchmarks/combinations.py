"""Every pruner with every granularity and schedule that it allows, each run for one step on a small network.

    python -m benchmarks.combinations

A cell is the compression reached, or why the combination is refused. Run it after adding a pruner.
"""

from __future__ import annotations

import copy

import torch
from rich.console import Console
from rich.table import Table

from pruners import PRUNERS, Pruner, PruningError, find, masking

COMPRESSION = 2.0
GRANULARITIES = ("weight", "filter", "2:4")
SCHEDULES = ("oneshot", "exponential", "linear", "cubic")


def network() -> torch.nn.Module:
    """Two convolutions and a linear layer, for images (1, 8, 8) and 10 classes."""
    torch.manual_seed(0)
    layers = [
        *(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()),
        *(torch.nn.Conv2d(8, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(64, 10)),
    ]
    return torch.nn.Sequential(*layers)


def reached(pruner: Pruner, granularity: str, schedule: str) -> str:
    """The compression that masks of two iterations (one, for oneshot) leave after a training step."""
    model = network()
    x, y = torch.randn(40, 1, 8, 8), torch.arange(40) % 10
    try:
        iterations = 1 if schedule == "oneshot" else 2
        masks = find(
            copy.deepcopy(model),
            pruner,
            COMPRESSION,
            [(x, y)],
            granularity=granularity,
            schedule=schedule,
            iterations=iterations,
        ).masks
    except PruningError as error:
        return f"refused: {error}"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    hold = masking(model, masks)
    hold()
    torch.nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    hold()
    weights = dict(model.named_parameters())
    kept = sum(int((weights[name] != 0).sum()) for name in masks)
    return f"{sum(mask.numel() for mask in masks.values()) / kept:.3f}x"


def main() -> None:
    """Print the table."""
    table = Table(title=f"asked: {COMPRESSION:g}x")
    table.add_column("pruner")
    table.add_column("when")
    for granularity in GRANULARITIES:
        for schedule in SCHEDULES:
            table.add_column(f"{granularity}\n{schedule}")
    notes: dict[str, int] = {}
    for name, pruner in PRUNERS.items():
        row = [name, pruner.when]
        for granularity in GRANULARITIES:
            for schedule in SCHEDULES:
                entry = reached(pruner, granularity, schedule)
                if entry.startswith("refused"):
                    entry = f"– ({notes.setdefault(entry, len(notes) + 1)})"
                row.append(entry)
        table.add_row(*row)
    console = Console(width=190)
    console.print(table)
    for note, number in notes.items():
        console.print(f"({number}) {note}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
