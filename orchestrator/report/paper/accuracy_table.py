"""Merged LaTeX table of a paper: pruners by network as rows, compressions by dataset as columns, as GraSP's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from orchestrator.report.markdown_latex import escape, note
from orchestrator.report.paper.references import dataset_keys, network_keys, pruner_keys
from orchestrator.report.pivots import Entry, PivotTable, accuracies
from orchestrator.results.lines import TOP1, Facet, facets, pruners
from orchestrator.results.results import Results

COLUMNS = 6  # most columns side by side: more do not fit the width of a page
LINES = 45  # most lines of one table
Column = tuple[str, str]  # dataset and compression: ("cifar10", "10x")


def accuracy_table(results: Results) -> str:
    r"""Return the table; the preamble needs `\usepackage{booktabs}`. Return "" if no trial has an accuracy.

    Columns that do not fit the width continue below each other, and lines that do not fit a page in another table.
    """
    tables = {facet: found for facet in facets(results, TOP1) if (found := accuracies(results, facet))}
    if not any(_columns(tables)):
        return ""
    blocks = [_tabular(results, tables, columns) for columns in _side_by_side(_columns(tables))]
    pages: list[list[str]] = []
    for block in blocks:
        if pages and sum(part.count("\n") for part in [*pages[-1], block]) <= LINES:
            pages[-1].append(block)
        else:
            pages.append([block])
    caption = "Test accuracy in percent after the last epoch." + f" {note(list(tables.values()))}".rstrip()
    floats = []
    for number, page in enumerate(pages):
        words = (
            rf"\caption{{{escape(caption)}}}" if not number else r"\caption{Continued from table~\ref{tab:accuracy}.}"
        )
        marked = r"\label{tab:accuracy}" if not number else rf"\label{{tab:accuracy-{number + 1}}}"
        body = "\n\n\\medskip\n".join(page)
        floats.append(
            "\n".join(
                [
                    r"\begin{table}[tb]",
                    r"\centering\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{6pt}",
                    words,
                    marked,
                    body,
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(floats) + "\n"


def _columns(tables: dict[Facet, PivotTable]) -> list[Column]:
    """Return the columns: datasets in the order of the space, with their compressions above 1x in ascending order."""
    heads = {(facet.dataset, head) for facet, table in tables.items() for head in table.heads if head != "1x"}
    order = list(dict.fromkeys(facet.dataset for facet in tables))
    return sorted(heads, key=lambda column: (order.index(column[0]), float(column[1][:-1])))


def _side_by_side(columns: list[Column]) -> Iterator[list[Column]]:
    """Yield the columns that stand side by side. A dataset that fits is not divided, a larger one evenly."""
    row: list[Column] = []
    for _, group in groupby(columns, key=lambda column: column[0]):
        some = list(group)
        parts = -(-len(some) // COLUMNS)
        for part in range(parts):
            piece = some[part * len(some) // parts : (part + 1) * len(some) // parts]
            if len(row) + len(piece) > COLUMNS:
                yield row
                row = []
            row += piece
    if row:
        yield row


def _tabular(results: Results, tables: dict[Facet, PivotTable], columns: Sequence[Column]) -> str:
    spans = [(dataset, len(list(group))) for dataset, group in groupby(columns, key=lambda column: column[0])]
    ends = [sum(width for _, width in spans[: i + 1]) + 1 for i in range(len(spans))]
    rules = [rf"\cmidrule(lr){{{end - width + 1}-{end}}}" for (_, width), end in zip(spans, ends, strict=True)]
    lines = [
        _row("", [_spanning(width, escape(name) + _cite(dataset_keys(name))) for name, width in spans]),
        " ".join(rules),
        _row("compression", [head.replace("x", r"$\times$") for _, head in columns]),
        _row("weights pruned", [rf"{100 * (1 - 1 / float(head[:-1])):.4g}\,\%" for _, head in columns]),
    ]
    for network in dict.fromkeys((facet.architecture, facet.settings) for facet in tables):
        here = {facet.dataset: facet for facet in tables if (facet.architecture, facet.settings) == network}
        if not any(dataset in here for dataset, _ in spans):
            continue
        lines += [r"\midrule", _network_row(tables, here, spans)]
        for pruner in pruners(results):
            cells = [
                _entry(tables.get(here[dataset]) if dataset in here else None, pruner, head)
                for dataset, head in columns
            ]
            if any(cells):
                name = escape(pruner) + _cite(pruner_keys(pruner.partition(" ")[0]))
                lines.append(_row(name, [_latex(cell) for cell in cells]))
    inside = "\n".join(lines)
    return f"\\begin{{tabular}}{{l{'r' * len(columns)}}}\n\\toprule\n{inside}\n\\bottomrule\n\\end{{tabular}}"


def _network_row(tables: dict[Facet, PivotTable], here: dict[str, Facet], spans: Sequence[tuple[str, int]]) -> str:
    """Return the line of a network, with the accuracy of the dense one, which all pruners share."""
    facet = next(iter(here.values()))
    settings = "".join(f", {key}={value}" for key, value in facet.settings)
    name = rf"\textbf{{{escape(facet.architecture)}}}{_cite(network_keys(facet.architecture.partition(' ')[0]))}"
    cells = []
    for dataset, width in spans:
        table = tables.get(here[dataset]) if dataset in here else None
        unpruned = [entry for pruner, _ in (table.rows if table else ()) if (entry := _entry(table, pruner, "1x"))]
        measured = [escape(entry.text) for entry in unpruned if entry.value is not None]
        cells.append(_spanning(width, f"dense: {measured[0]}" if measured else ""))
    return _row(name + escape(settings), cells)


def _entry(table: PivotTable | None, pruner: str, head: str) -> Entry | None:
    rows = dict(table.rows) if table else {}
    return rows[pruner][table.heads.index(head)] if table and pruner in rows and head in table.heads else None


def _latex(entry: Entry | None) -> str:
    """Return a cell; the asterisk takes no room, so that numbers stay below each other."""
    if entry is None:
        return ""
    text = escape(entry.text)
    text = rf"\textbf{{{text}}}" if entry.leads else text
    return text + (r"\rlap{$^{*}$}" if entry.collapsed else "")


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{' & '.join([name, *cells])} \\\\"


def _spanning(width: int, text: str) -> str:
    return rf"\multicolumn{{{width}}}{{c}}{{{text}}}"


def _cite(keys: Sequence[str]) -> str:
    return rf"~\cite{{{','.join(keys)}}}" if keys else ""
