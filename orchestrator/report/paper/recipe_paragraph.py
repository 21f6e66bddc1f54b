"""Recipe of an experiment as a paragraph of a paper: settings, seeds, budgets and machines, as they were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import median

from orchestrator.report.budgets import budget_words
from orchestrator.report.figures.finding import in_words
from orchestrator.report.markdown_latex import escape
from orchestrator.report.measured import without_measures
from orchestrator.report.paper.references import SOFTWARE
from orchestrator.report.recipe import common, fields_by_pruner, never_pruned_shares
from orchestrator.results.lines import facets, line, metric_reader, pruners
from orchestrator.results.results import Results
from orchestrator.results.row import Row, counts

SHOWN_IN_TABLE = ("dataset", "architecture", "pruner", "compression")
VERSIONS = ("python", "torch")


def recipe_paragraph(results: Results) -> str:
    """Return the paragraph in LaTeX."""
    rows = list({row.run_id: row for row in (*results.rows, *results.tried) if row.status == "finished"}.values())
    sentences = [
        *_settings(results),
        *_seeds(results),
        *budget_words(without_measures(results)),
        *_cost(rows),
        *_machines(rows),
    ]
    commits = _values(rows, "git_commit")
    code = f"Pruning sweeps~\\cite{{{SOFTWARE}}}" + (f" at commit {escape(in_words(commits))}" if commits else "")
    return (
        f"\\paragraph{{Recipe.}}\nAll numbers were computed with {code}.\n" + "\n".join(map(escape, sentences)) + "\n"
    )


def _settings(results: Results) -> Iterator[str]:
    shared = [(key, value) for key, value in common(results.trials.values()) if key not in SHOWN_IN_TABLE]
    if shared:
        yield f"All pruned networks share these settings: {', '.join(f'{_name(k)} {v}' for k, v in shared)}."
    fields, by_pruner = fields_by_pruner(results)
    said = [
        f"{pruner} has {', '.join(f'{_name(key)} {value}' for key, value in zip(fields, values, strict=True))}"
        for pruner, values in by_pruner
    ]
    if fields and said:
        yield f"Pruners differ in these: {'; '.join(said)}."
    if shares := never_pruned_shares(results):
        yield f"Biases, norms and embeddings are never pruned: {', '.join(f'{k[16:]} {v}' for k, v in shares)}."


def _name(key: str) -> str:
    return key.replace("_", " ").replace("options.", "")


def _seeds(results: Results) -> Iterator[str]:
    """Yield how many seeds the points have, and how many cells have no result."""
    trained = without_measures(results)
    points = (point for facet in facets(trained) for pruner in pruners(trained)
              for point in line(trained, facet, pruner, metric_reader("final/top1")))  # fmt: skip
    measured = [len(point.values) for point in points if point.values]
    if measured:
        low, high = min(measured), max(measured)
        used = sorted({row.cell.seed for row in trained.rows if row.status == "finished"})
        fewer = f"{low} to {high} of " if low < high else "" if high == len(used) else f"{high} of "
        listed = in_words([f"{seed}" for seed in used]) if len(used) <= 10 else f"{used[0]} to {used[-1]}"
        one = f"Each number is of one training, with seed {listed}."
        yield one if len(used) == 1 else f"Each number is the mean over {fewer}the seeds {listed}."
    found = counts(results.rows)
    if left := {status: count for status, count in found.items() if status != "finished"}:
        words = ", ".join(f"{count} {status}" for status, count in left.items())
        yield f"Of {len(results.rows)} cells {found['finished']} have a result; the others: {words}."


def _cost(rows: list[Row]) -> Iterator[str]:
    """Yield the time of all trials, and the span of what a network cost in multiply-accumulates."""
    seconds = [row.metrics["time/total_seconds"] for row in rows if "time/total_seconds" in row.metrics]
    if seconds:
        each = f"{_time(median(seconds))} for the median one"
        yield f"The {len(seconds)} distinct trials took {_time(sum(seconds))} of computing in all, {each}."
    macs = [row.metrics["cost/training_macs"] for row in rows if row.metrics.get("cost/training_macs")]
    if macs:
        low, high = (f"{cost / 1e12:.3g}" for cost in (min(macs), max(macs)))
        yield f"A network cost {f'{low} to {high}' if low != high else low} trillion multiply-accumulates of training."


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"


def _machines(rows: list[Row]) -> Iterator[str]:
    machines = Counter(row.tags["machine"] for row in rows if "machine" in row.tags)
    if machines:
        yield f"They ran on {'; '.join(f'{name} ({count} trials)' for name, count in machines.most_common())}."
    versions = [f"{name} {in_words(values)}" for name in VERSIONS if (values := _values(rows, name))]
    if versions:
        yield f"Versions: {', '.join(versions)}."


def _values(rows: Iterable[Row], tag: str) -> list[str]:
    return list(dict.fromkeys(row.tags[tag] for row in rows if tag in row.tags))
