"""Write the paper kit: a table, a figure, the recipe, BibTeX, fingerprints and a script that runs it again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from orchestrator.report.figures import draw
from orchestrator.report.figures.style import Drawing
from orchestrator.report.markdown_latex import escape
from orchestrator.report.paper.accuracy_table import accuracy_table
from orchestrator.report.paper.recipe_paragraph import recipe_paragraph
from orchestrator.report.paper.references import cited, entries
from orchestrator.report.paper.rerun import rerun_files
from orchestrator.report.tables import tables
from orchestrator.report.write import WrittenReport
from orchestrator.results.results import Results, read
from orchestrator.results.store import ReportError, connect
from orchestrator.results.where_filter import where

DOCUMENT = r"""\documentclass[11pt]{article}
\usepackage[margin=1in]{geometry}
\usepackage[utf8]{inputenc}
\usepackage{booktabs,graphicx,textcomp}
\begin{document}
\section*{%s}
%s
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""
FIGURE = r"""\begin{figure}[tb]
\centering
\includegraphics[width=%s\textwidth]{%s.pdf}
\caption{%s}
\label{fig:%s}
\end{figure}
"""
README = """# Paper kit of {experiment}

| file | what it is |
| --- | --- |
| `paper.tex`, `paper.pdf` after `pdflatex`, `bibtex` and twice `pdflatex` | all of it on one page, to look at |
| `table.tex` | the table of accuracies; needs `booktabs` |
| `{figure}.pdf`, `figure.tex` | the figure, and how it is included |
| `recipe.tex` | the settings, seeds, budgets and machines as a paragraph |
| `references.bib` | the papers of every pruner, network and dataset used, and this program |
| `fingerprints.csv` | every cell with its fingerprint and all that was measured |
| `rerun.sh`, `spaces/`, `own/` | the command that runs it again, with all it needs |

To run it again: `sh rerun.sh`. The same fingerprint means the same trial: compare `fingerprints.csv` with
`rerun/paper/fingerprints.csv`. The {count} fingerprints in order have the SHA-256 `{digest}`.
"""


def write_paper(tracking_uri: str, experiments: Sequence[str], folder: Path, selection: str = "") -> WrittenReport:
    """Write the kit of one or several experiments into `folder`; nothing is logged into MLflow.

    Raises:
        ReportError: if there is nothing to report on, before anything is written, or no place to write to.
    """
    results = read(connect(tracking_uri), *experiments)
    if selection:
        results = where(results, selection)
    files = paper_files(results)
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as error:
        raise ReportError(f"output folder '{folder}' cannot be written: {error.strerror}") from error
    return WrittenReport(folder / "paper.tex", results)


def paper_files(results: Results) -> dict[str, bytes]:
    """Return the files of the kit by name."""
    table = accuracy_table(results)
    keys, without = cited(results.trials[row.cell.fingerprint] for row in results.rows)
    bibliography = "\n\n".join(entries()[key] for key in keys) + "\n"
    if without:
        bibliography = f"% No reference is known for {', '.join(without)}.\n\n{bibliography}"
    drawing = next(draw(results), None)
    parts = [*([r"\input{table}"] if table else []), *([r"\input{figure}"] if drawing else []), r"\input{recipe}"]
    fingerprints = sorted({row.cell.fingerprint for row in results.rows})
    digest = hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()
    figure = drawing.name if drawing else "figure"
    texts = {
        "README.md": README.format(
            experiment=results.experiment, figure=figure, count=len(fingerprints), digest=digest
        ),
        "paper.tex": DOCUMENT % (escape(results.experiment), "\n".join(parts)),
        "recipe.tex": recipe_paragraph(results),
        "references.bib": bibliography,
        "fingerprints.csv": tables(results)["trials.csv"],
        **({"table.tex": table} if table else {}),
        **({"figure.tex": _figure(drawing)} if drawing else {}),
        **rerun_files(results),
    }
    pictures = {f"{drawing.name}.pdf": drawing.save("pdf")} if drawing else {}
    return {name: text.encode() for name, text in texts.items()} | pictures


def _figure(drawing: Drawing) -> str:
    """Return the figure's environment; a figure of one panel is as wide as a column of two."""
    width = f"{min(1.0, drawing.figure.get_figwidth() / 6.9):.2g}"
    return FIGURE % (width, drawing.name, escape(drawing.caption), drawing.name)
