"""What a report says of a search: what was tuned, on which images, with how many trials, and what came of them."""

from __future__ import annotations

from collections import Counter

from orchestrator.comparing.tuned import Tuned, tuned
from orchestrator.findings.finding import listed
from orchestrator.reading.results import Results
from search_spaces.search import PER_EPOCH


def search_words(results: Results) -> list[str]:
    """A few sentences; none where nothing was searched."""
    studies = tuned(results)
    if not studies:
        return []
    return [_what(results, studies), _how_many(studies), *_ends(studies), *_then(results, studies)]


def _what(results: Results, studies: tuple[Tuned, ...]) -> str:
    """The fields and what they were chosen by."""
    keys = sorted({key for study in studies for row in study.rows for key in study.chosen(row)})
    names = list(dict.fromkeys(objective.name for study in studies for objective in study.objectives))
    said = f"Tuned: {listed(keys)}, for {listed(names)}"
    if not set(names) & set(PER_EPOCH):
        return f"{said}; the test set had no part in it."
    shares = sorted({results.trials[row.cell.fingerprint].validation for study in studies for row in study.rows})
    held_out = " or ".join(f"{100 * share:g} %" for share in shares)
    return f"{said} on {held_out} of the training images, held out of the training; the test set had no part in it."


def _how_many(studies: tuple[Tuned, ...]) -> str:
    """The trials of each study, of how many it has."""
    counts = sorted(len(study.rows) for study in studies)
    each = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    budgets = {study.record.get("trials", len(study.rows)) for study in studies}
    if len(budgets) == 1 and (budget := budgets.pop()) > counts[0]:
        each += f" of {budget}"
    samplers = " or ".join(sorted({str(study.record.get("sampler", "")) for study in studies}))
    if len(studies) == 1:
        return f"One study chose {each} trials ({samplers})."
    per = "each cell had a study of its own" if not any(study.axes for study in studies) else "studies"
    return f"{len(studies)} studies of {each} trials each ({samplers}); {per}, so that every pruner is at its best."


def _ends(studies: tuple[Tuned, ...]) -> list[str]:
    """What became of trials without a result."""
    counts = Counter(row.status for study in studies for row in study.rows)
    total = counts.total()
    lost = [f"{count} {_word(status)}" for status, count in counts.items() if status != "finished"]
    return [f"Of the {total} trials tried, {listed(lost)}: none of those counts as a result."] if lost else []


def _then(results: Results, studies: tuple[Tuned, ...]) -> list[str]:
    """What stands for the search: the best of each study with fresh seeds, or the front."""
    several = [study for study in studies if len(study.objectives) > 1]
    said = []
    if several:
        front = [study.rows[number] for study in several for number in study.best]
        counts = Counter(row.cell.pruner for row in front)
        tried = sum(len(study.values) for study in several)
        by = ", ".join(f"{pruner} {count}" for pruner, count in counts.most_common())
        said.append(f"On the Pareto front: {len(front)} of {tried} finished trials ({by}).")
    best = [row for row in results.rows if row.cell.study]
    if best:
        seeds = sorted({row.cell.seed for row in best})
        tried_seeds = {row.cell.seed for study in studies for row in study.rows}
        fresh = not tried_seeds & set(seeds)
        said.append(
            f"The answer stands on the best settings of each cell, run again with {len(seeds)} fresh seeds."
            if fresh
            else "The answer stands on the very trials that were chosen as best: without confirm_seeds they flatter."
        )
    elif not several:
        said.append("No study is over yet, so no best setting stands in the answer.")
    return said


def _word(status: str) -> str:
    return {"stopped": "were given up early", "failed": "failed", "running": "still run"}.get(status, f"were {status}")
