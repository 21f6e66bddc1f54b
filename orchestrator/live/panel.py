"""What stands on the terminal while trials run: which run, and what is best so far. Cut to the room there is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.colors import look
from search_spaces import Trial, amount

SHOWN = 8  # running trials, however high the terminal is
COLUMN = 24  # characters of a table's column


def panel(
    head: RenderableType,
    running: Sequence[tuple[str, Trial, int]],
    done: Iterable[tuple[Trial, float]],
    size: tuple[int, int],
) -> Group:
    """The head, the running trials (name, trial, epoch), the best of what is done (a top-1 each); `size`: w, h.

    The table goes before the running trials, of which three are always shown: they come and go.
    """
    width, height = size
    table = best(done, width, max(1, height - 8))
    rows = height - 3 - (table.row_count + 1 if table else 0)
    return Group(head, *_running(running, max(3, min(SHOWN, rows))), *([table] if table else []))


def _running(running: Sequence[tuple[str, Trial, int]], rows: int) -> list[RenderableType]:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(no_wrap=True)
    for name, trial, epoch in running[:rows]:
        grid.add_row(Text(name, look(trial.pruner).color), _stands(trial, epoch))
    more = len(running) - rows
    return [grid, *([Text(f"and {more} more")] if more > 0 else [])]


def _stands(trial: Trial, epoch: int) -> str:
    return f"epoch {epoch}/{trial.epochs_to_train}" if trial.epochs_to_train else ""


def best(done: Iterable[tuple[Trial, float]], width: int, rows: int) -> Table | None:
    """The best pruner per compression or kappa, a column for each dataset and architecture; None if nothing is done.

    Of more compressions than `rows`, some are left out evenly; of more columns than fit, the last.
    """
    found: dict[tuple[str, tuple[float, float]], tuple[float, Trial]] = {}
    for trial, top1 in done:
        place = f"{trial.architecture} {trial.dataset}", (trial.compression, trial.kappa)
        if place not in found or top1 > found[place][0]:
            found[place] = top1, trial
    if not found:
        return None
    columns = list(dict.fromkeys(facet for facet, _ in found))
    fit = max(1, width // COLUMN - 1)
    left_out = f" ({fit} of {len(columns)})" if len(columns) > fit else ""
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column(f"best so far{left_out}", justify="right", no_wrap=True)
    for facet in columns[:fit]:
        table.add_column(facet, no_wrap=True, overflow="ellipsis")
    asked = {much: amount(trial) for (_, much), (_, trial) in found.items()}
    for much in sorted(asked)[:: math.ceil(len(asked) / rows)]:
        table.add_row(asked[much], *(_entry(found.get((facet, much))) for facet in columns[:fit]))
    return table


def _entry(found: tuple[float, Trial] | None) -> Text:
    return Text(f"{100 * found[0]:.2f} % {found[1].pruner}", look(found[1].pruner).color) if found else Text("")
