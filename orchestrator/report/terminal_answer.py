"""Answer at the end of a command's output: the most telling table of accuracies, the summary, and what is open."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.report.measured import without_measures
from orchestrator.report.open_questions import SHOWN, what_would_decide
from orchestrator.report.pivots import Entry, PivotTable, accuracies
from orchestrator.report.summary_text import all_standings, short_summary, strongest
from orchestrator.results.results import Results

TITLE = "test accuracy in %, mean ± standard deviation over seeds"
BOLD, COLLAPSED = "bold: the best, and all that no test tells apart from it", "*: no path of kept weights"


def print_answer(results: Results, console: Console) -> None:
    """Print the table of the panel with the surest lead, else of the first, the summary, and what would decide more."""
    known = without_measures(results)
    found = strongest(all_standings(known)) if known.rows else None
    shown = accuracies(known, found[0] if found else None)
    console.print()
    if shown is not None:
        _print_table(shown, console)
    for sentence in (*short_summary(results), *(what_would_decide(known, SHOWN) if known.rows else ())):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _print_table(shown: PivotTable, console: Console) -> None:
    entries = [entry for _, row in shown.rows for entry in row]
    notes = [TITLE, *([BOLD] if any(e.leads for e in entries) else []),
             *([COLLAPSED] if any(e.collapsed for e in entries) else [])]  # fmt: skip
    console.print(Text(shown.title, "bold"), Text(f"  {'; '.join(notes)}", "dim"), sep="", soft_wrap=True)
    table = Table("", *shown.heads, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for pruner, row in shown.rows:
        table.add_row(Text(pruner), *(_text(entry, console.is_terminal) for entry in row))
    console.print(table)


def _text(entry: Entry, styled: bool) -> Text:
    """Return an entry; without a terminal bold is written as in Markdown."""
    text = entry.text + "*" * entry.collapsed
    return Text(text, "bold") if entry.leads and styled else Text(f"**{text}**" if entry.leads else text)
