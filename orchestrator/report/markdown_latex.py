"""Markdown and LaTeX (booktabs) output of the report's tables, for papers and notes."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.pivots import Entry, PivotTable

SPECIAL = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
           "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "·": r"$\cdot$",
           "−": "$-$"}  # fmt: skip


def note(grids: Sequence[PivotTable]) -> str:
    """Return a text that explains the marks that occur in these tables."""
    entries = [entry for grid in grids for _, row in grid.rows for entry in row]
    said = {
        "Mean over seeds ± their standard deviation.": any("±" in entry.text for entry in entries),
        "Bold: the best, and all that no test tells apart from it.": any(entry.leads for entry in entries),
        "An asterisk: no path of kept weights leads from input to output.": any(entry.collapsed for entry in entries),
        "(1/3): one of three seeds has a result.": any(entry.hole and entry.value is not None for entry in entries),
        "(best 1/3): the other seeds were stopped early, so the mean is too optimistic.": any(
            "(best " in entry.text for entry in entries
        ),
    }
    return " ".join(words for words, needed in said.items() if needed)


def markdown(title: str, grids: Sequence[PivotTable]) -> str:
    """Return one document with a table per facet."""
    parts = [f"# {title}"]
    for grid in grids:
        rows = [[pruner, *(_marked(entry, "**{}**", "\\*") for entry in entries)] for pruner, entries in grid.rows]
        parts += [f"## {grid.title}", markdown_table(["pruner", *grid.heads], rows)]
    return "\n\n".join(filter(None, [*parts, note(grids)])) + "\n"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with names aligned left and numbers aligned right."""
    lines = [heads, [":--", *("--:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def latex(name: str, title: str, grids: Sequence[PivotTable]) -> str:
    r"""Return one `table` per facet; the preamble needs `\usepackage{booktabs}`."""
    parts = [r"% \usepackage{booktabs}"]
    for number, grid in enumerate(grids, 1):
        rows = [
            [escape(pruner), *(_marked(entry, r"\textbf{{{}}}", "*", escape_too=True) for entry in entries)]
            for pruner, entries in grid.rows
        ]
        caption = escape(f"{title}: {grid.title}. {note([grid])}".strip())
        heads = ["pruner", *(head.replace("x", r"$\times$") for head in grid.heads)]
        parts.append(latex_table(f"tab:{name}-{number}", caption, heads, rows))
    return "\n\n".join(parts) + "\n"


def latex_table(label: str, caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a booktabs table of cells that are already LaTeX; the caption is above, as usual for tables."""
    body = "\n".join("  " + " & ".join(row) + r" \\" for row in rows)
    return "\n".join(
        [
            r"\begin{table}[tb]",
            r"\centering\small",
            rf"\caption{{{caption}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            "  " + " & ".join(heads) + r" \\",
            r"\midrule",
            body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def escape(text: str) -> str:
    """Return the text with LaTeX's special characters escaped."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _marked(entry: Entry, bold: str, star: str, escape_too: bool = False) -> str:
    text = escape(entry.text) if escape_too else entry.text
    text = bold.format(text) if entry.leads else text
    return text + (star if entry.collapsed else "")
