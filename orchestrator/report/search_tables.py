"""Tables of a search: every trial that it tried, the best settings of each cell, Pareto fronts, pairs of pruners."""

from __future__ import annotations

from collections import Counter
from statistics import fmean, stdev

from orchestrator.report.figures import Table
from orchestrator.report.figures.finding import in_words
from orchestrator.report.studies import Tuned, tuned
from orchestrator.report.verdicts import panel_verdicts
from orchestrator.results.lines import TOP1, facet_of, facets
from orchestrator.results.results import Results
from orchestrator.results.row import Row
from trainables.metrics import PER_EPOCH


def tried(results: Results) -> Table:
    """Return a row per trial and study, in the order of requests; empty if nothing was searched.

    `best` says whether the trial is the best of its study, or on its front. Trials without a result have no values, and
    a reason.
    """
    studies = tuned(results)
    keys = sorted({key for study in studies for row in study.rows for key in row.cell.searched})
    fixed = sorted({key for study in studies for row in study.rows for key in row.cell.settings})
    names = list(dict.fromkeys(objective.name for study in studies for objective in study.objectives))
    heads = ["study", "number", "dataset", "architecture", "pruner", "compression", "kappa", "seed", *fixed, *keys]
    table = [[*heads, *names, "best", "status", "why", "fingerprint", "run_id"]]
    for study in studies:
        for number, row in enumerate(study.rows):
            cell = row.cell
            values = dict(zip((o.name for o in study.objectives), study.values.get(number, ()), strict=False))
            table.append([
                study.name, str(number + 1), cell.dataset, cell.architecture, cell.pruner,
                f"{cell.compression:g}" if cell.compression else "", f"{cell.kappa:g}" if cell.kappa else "",
                str(cell.seed), *(str(cell.settings.get(key, "")) for key in fixed),
                *(str(cell.searched.get(key, "")) for key in keys),
                *(repr(values[name]) if name in values else "" for name in names),
                "yes" if number in study.best else "", row.status, row.error, cell.fingerprint, row.run_id,
            ])  # fmt: skip
    return table if studies else []


def best_settings(results: Results) -> Table:
    """Return a row per searched cell: test accuracy over fresh seeds, the chosen settings, and the objective's value.

    Accuracies are fractions as logged; `n` is the number of finished seeds, `of` the number of all.
    """
    cells: dict[tuple[str, ...], list[Row]] = {}
    for row in results.rows:
        if row.cell.study:
            place = (facet_of(row).title, row.cell.pruner, f"{row.cell.compression:g}x")
            cells.setdefault((*place, row.cell.study), []).append(row)
    keys = sorted({key for rows in cells.values() for row in rows for key in row.cell.searched})
    studies = {study.name: study for study in tuned(results)}
    table = [["cell", "pruner", "compression", "test top1 mean", "test top1 std", "n", "of", *keys, "its value",
              "chosen by", "trials"]]  # fmt: skip
    for (title, pruner, compression, name), rows in cells.items():
        study, searched = studies.get(name), rows[0].cell.searched
        config = results.trials[rows[0].cell.fingerprint].config  # everything but the seed
        values = [values for number, values in study.values.items()
                  if results.trials[study.rows[number].cell.fingerprint].config == config] if study else []  # fmt: skip
        tops = [top for row in rows if row.status == "finished" and (top := TOP1(row)) is not None]
        table.append([
            title, pruner, compression, repr(fmean(tops)) if tops else rows[0].status,
            repr(stdev(tops)) if len(tops) > 1 else "", str(len(tops)), str(len(rows)),
            *(str(searched.get(key, "")) for key in keys), repr(values[0][0]) if values else "",
            study.objectives[0].name if study and study.objectives else "", str(len(study.rows)) if study else "",
        ])  # fmt: skip
    return table if cells else []


def fronts(results: Results) -> Table:
    """Return a row per trial on the Pareto front of each study with several objectives; empty if there is none.

    Rows are sorted by the first objective, best first, and hold the chosen settings, the values as logged, and the
    number of the trial in its study.
    """
    several = [study for study in tuned(results) if len(study.objectives) > 1]
    names = list(dict.fromkeys(objective.name for study in several for objective in study.objectives))
    keys = list(dict.fromkeys(key for study in several for row in study.rows for key in study.chosen(row)))
    table = [["study", *keys, *names, "number"]]
    for study in several:
        first = study.objectives[0]
        for number in sorted(study.best, key=lambda number: -first.sign * study.values[number][0]):
            chosen = study.chosen(study.rows[number])
            values = dict(zip((objective.name for objective in study.objectives), study.values[number], strict=True))
            settings = [str(chosen.get(key, "")) for key in keys]
            reached = [repr(values[name]) if name in values else "" for name in names]
            table.append([study.name, *settings, *reached, str(number + 1)])
    return table if len(table) > 1 else []


def compared_pairs(results: Results) -> Table:
    """Return a row per facet, compression and tested pair of pruners, in points of accuracy; [] without any."""
    rows = []
    for facet in facets(results):
        for pair in panel_verdicts(results, facet).pairs:
            seeds, images = pair.over_seeds, pair.over_images
            if not seeds and not images:  # one seed without stored predictions: nothing was tested
                continue
            rows.append([
                facet.title, f"{pair.compression:g}x", pair.better, pair.worse, pair.verdict, f"{100 * pair.gap:.2f}",
                *(f"{100 * end:+.2f}" if seeds else "" for end in (seeds.interval if seeds else (0, 0))),
                f"{seeds.corrected:.2g}" if seeds else "", str(len(pair.seeds)),
                f"{images.corrected:.2g}" if images else "", str(images.images) if images else "",
            ])  # fmt: skip
    heads = ["cell", "compression", "better", "worse", "verdict", "difference", "95 % from", "to", "p over seeds",
             "seeds", "p over images", "images"]  # fmt: skip
    return [heads, *rows] if rows else []


def search_words(results: Results) -> list[str]:
    """Return a few sentences on the search; none if nothing was searched."""
    studies = tuned(results)
    if not studies:
        return []
    said = [_what(results, studies), _how_many(studies), *_all_tried(studies), *_ends(studies)]
    return [*said, *_then(results, studies)]


def _what(results: Results, studies: tuple[Tuned, ...]) -> str:
    """Return a sentence on the searched fields and the objectives."""
    keys = sorted({key for study in studies for row in study.rows for key in study.chosen(row)})
    names = list(dict.fromkeys(objective.name for study in studies for objective in study.objectives))
    said = f"Tuned: {in_words(keys)}, for {in_words(names)}"
    if not set(names) & set(PER_EPOCH):
        return f"{said}; the test set was not used."
    shares = sorted({results.trials[row.cell.fingerprint].validation for study in studies for row in study.rows})
    held_out = " or ".join(f"{100 * share:g} %" for share in shares)
    return f"{said} on {held_out} of the training images, held out of the training; the test set was not used."


def _how_many(studies: tuple[Tuned, ...]) -> str:
    """Return a sentence on the number of trials of each study, and its budget."""
    counts = sorted(len(study.rows) for study in studies)
    each = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
    budgets = {study.record.get("trials", len(study.rows)) for study in studies}
    if len(budgets) == 1 and (budget := budgets.pop()) > counts[0]:
        each += f" of {budget}"
    samplers = " or ".join(sorted({str(study.record.get("sampler", "")) for study in studies}))
    if len(studies) == 1:
        return f"One study chose {each} trials ({samplers})."
    per = (
        "each cell had its own study" if not any(study.axes for study in studies) else "each chose among several cells"
    )
    return f"{len(studies)} studies of {each} trials each ({samplers}); {per}."


def _all_tried(studies: tuple[Tuned, ...]) -> list[str]:
    """Return a sentence on the studies that had no more settings to try before their trials were used up."""
    found = [study for study in studies if study.name in study.record.get("all_tried", ())]
    if not found:
        return []
    which = "It" if len(studies) == 1 else "Each" if len(found) == len(studies) else f"{len(found)} of them"
    return [f"{which} tried every setting there is, so further trials would only repeat results."]


def _ends(studies: tuple[Tuned, ...]) -> list[str]:
    """Return a sentence on the trials without a result; none if all have one."""
    counts = Counter(row.status for study in studies for row in study.rows)
    total = counts.total()
    lost = [f"{count} {_word(status)}" for status, count in counts.items() if status != "finished"]
    return [f"Of the {total} trials tried, {in_words(lost)}: none of these counts as a result."] if lost else []


def _then(results: Results, studies: tuple[Tuned, ...]) -> list[str]:
    """Return sentences on the result of the search: the best of each study with fresh seeds, or the front."""
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
            f"The answer uses the best settings of each cell, run again with {len(seeds)} fresh seeds."
            if fresh
            else "The answer uses the trials that were chosen as best: without confirm_seeds it is too optimistic."
        )
    elif not several:
        over = all(study.name in study.record.get("all_tried", ()) for study in studies)
        why = "No trial of the search has a result" if over else "No study is finished yet"
        said.append(f"{why}, so the answer has no best settings.")
    return said


def _word(status: str) -> str:
    return {"stopped": "were stopped early", "failed": "failed", "running": "still run"}.get(status, f"were {status}")
