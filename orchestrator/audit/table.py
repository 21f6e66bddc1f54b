"""Output of an audit: a table of runs, and the differences in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.audit.compare import OTHER_DEVICE, SAME_DEVICE, Check
from orchestrator.audit.run import Audited

STYLES = {"agrees": "green", "differs": "bold red", "not auditable": "yellow"}
HEADS = ("run", "verdict", "checks", "top-1 logged", "recomputed", "MACs kept", "recomputed")
LINES = 20  # most differences of one run to print
ROUNDING = (
    "Tolerances: counts must be equal. Losses may differ by {:g} of their size. Logits that differ by at most {:g} of "
    "their image's largest count as equal. Both limits are {:g} where a trial ran on another kind of device."
)


def show(audited: Sequence[Audited], console: Console) -> None:
    """Print a row for each run: a table on a terminal, else one whole line each, for grep."""
    rows = [_row(each) for each in audited]
    if not console.is_terminal:
        columns = list(zip(HEADS, *rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        for row in (HEADS, *rows):
            line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        return
    table = Table(*HEADS, box=None, pad_edge=False)
    for each, (name, verdict, *numbers) in zip(audited, rows, strict=True):
        table.add_row(Text(name), Text(verdict, STYLES[each.verdict]), *numbers)
    console.print(table)


def told(audited: Sequence[Audited], finished: int) -> list[str]:
    """Return lines: all differences, what could not be audited and why, and the totals."""
    lines = difference_lines(audited)
    reasons = Counter(each.reason for each in audited if each.reason)
    lines += [f"not auditable ({count}): {reason}" for reason, count in reasons.most_common()]
    notes = Counter(note for each in audited for note in each.notes)
    lines += [f"not checked in {count} of them: {note}" for note, count in notes.most_common()]
    return [*lines, summary(audited, finished), ROUNDING.format(SAME_DEVICE, SAME_DEVICE, OTHER_DEVICE)]


def difference_lines(audited: Sequence[Audited]) -> list[str]:
    """Return a line for each difference: the run, what was logged, what was recomputed."""
    lines = []
    for each in audited:
        run = f"{each.name} ({each.run_id}) DIFFERS"
        lines += [f"{run}: {check.words}" for check in each.differences[:LINES]]
        lines += [f"{run}: and {len(each.differences) - LINES} more"] if len(each.differences) > LINES else []
    return lines


def summary(audited: Sequence[Audited], finished: int) -> str:
    """Return how many of the `finished` runs were audited, in one sentence."""
    verdicts = Counter(each.verdict for each in audited)
    done = verdicts["agrees"] + verdicts["differs"]
    differ = f"{verdicts['differs']} DIFFER" if verdicts["differs"] > 1 else "1 DIFFERS"
    came = "nothing to compare" if not done else differ if verdicts["differs"] else "all agree"
    unknown = f", {verdicts['not auditable']} not auditable" if verdicts["not auditable"] else ""
    return f"audited {done} of {finished} finished runs: {came}{unknown}"


def _row(each: Audited) -> tuple[str, ...]:
    checks = {check.name: check for check in each.checks}
    numbers = [text for name in ("final/top1", "model/macs_kept") for text in _both(checks.get(name))]
    return each.name, each.verdict, f"{len(each.checks)}" if each.checks else "–", *numbers


def _both(check: Check | None) -> tuple[str, str]:
    if check is None:
        return "–", "–"
    return tuple(f"{value:.6g}" if isinstance(value, float | int) else "–" for value in (check.logged, check.found))  # type: ignore[return-value]
