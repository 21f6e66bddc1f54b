"""Notes that MLflow shows on the experiment and on the sweep's run: the result in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.report.mlflow_ui.view import link
from orchestrator.report.summary_text import audit_words, overall_trust, panel_sentences, short_summary
from orchestrator.results.results import Results
from orchestrator.results.row import counts
from orchestrator.results.store import mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE = "mlflow.note.content"
HEADING = "## What the sweep found"  # text from here on is ours; text that somebody wrote above it stays
LONGEST = 7500  # MLflow cuts off a run's tag at 8000 characters


def write_notes(client: MlflowClient, results: Results, run_id: str) -> None:
    """Update the notes of the experiment and of the sweep's run.

    Raises:
        ReportError: if MLflow refuses.
    """
    with mlflow_errors():
        known = client.get_experiment(results.experiment_id).tags.get(NOTE, results.description)
        client.set_experiment_tag(results.experiment_id, NOTE, below(known, results))
        known = client.get_run(run_id).data.tags.get(NOTE, "")
        client.set_tag(run_id, NOTE, below(known, results))


def below(known: str, results: Results) -> str:
    """Return the note with our part replaced by the current results, in Markdown."""
    theirs = known.partition(HEADING)[0].strip()
    audited, differing = audit_words(results)
    parts = [
        theirs,
        HEADING,
        _state(results),
        _list(short_summary(results)),
        overall_trust(results),
        audited,
        _list(differing),
    ]
    text = "\n\n".join(filter(None, parts))
    said = panel_sentences(results)
    for number, (title, sentences) in enumerate(said):
        panel = f"\n\n### {title}\n\n{_list(sentences)}"
        if len(text) + len(panel) > LONGEST:
            return f"{text}\n\n{len(said) - number} more panels are in the report."
        text += panel
    return text


def _state(results: Results) -> str:
    """Return how many cells have a result, and where to find the charts."""
    rows = results.rows or results.tried  # a search with several objectives has no best trial: show all that were tried
    found = counts(rows)
    done = f"{found['finished']} of {len(rows)} cells have a result"
    left = ", ".join(f"{count} {status}" for status, count in found.items() if status != "finished")
    state = f"{done} ({left})" if left else f"All {len(rows)} cells have a result"
    return f"{state}. [Charts]({link(results.experiment_id)}); figures and tables: `report.html` of the sweep's run."


def _list(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
