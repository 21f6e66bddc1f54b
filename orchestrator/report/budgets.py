"""Sentence on the budgets of training that a report compares: pruners that train longer, or cost more, than others."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.report.figures.finding import in_words
from orchestrator.results.lines import CurvePoint, facets, line, metric_reader, pruned, pruners
from orchestrator.results.results import Results
from search_spaces import stage

FAR = 2.0  # ratio of two total training costs from which a report mentions it
COST = metric_reader("cost/training_macs")


def budget_words(results: Results) -> list[str]:
    """Return a sentence if pruners that are compared differ in epochs, or in total training cost by `FAR`; else []."""
    said = [*_epochs(results), *_costs(results)]
    return [f"Budgets differ: {'; '.join(said)}."] if said else []


def _compared(results: Results) -> Iterator[dict[str, CurvePoint]]:
    """Yield the finished points of each panel at each compression above 1x, by pruner, where there are several."""
    for facet in facets(results):
        lines = {pruner: line(results, facet, pruner, COST) for pruner in pruners(results)}
        for compression in pruned(results, facet):
            points = {
                pruner: point
                for pruner, found in lines.items()
                for point in found
                if point.compression == compression and any(row.status == "finished" for row in point.rows)
            }
            if len(points) > 1:
                yield points


def _epochs(results: Results) -> Iterator[str]:
    """Yield the epochs of each pruner, dense training and levels included, if compared ones differ in them."""
    differ = False
    seen: dict[str, set[int]] = {}
    for points in _compared(results):
        here = {pruner: _trained(results, point) for pruner, point in points.items()}
        differ |= len({frozenset(epochs) for epochs in here.values()}) > 1
        for pruner, epochs in here.items():
            seen.setdefault(pruner, set()).update(epochs)
    if differ:
        same: dict[tuple[int, int], list[str]] = {}
        for pruner, epochs in seen.items():
            same.setdefault((min(epochs), max(epochs)), []).append(pruner)
        spans = [
            f"{in_words(names)} {'trains' if len(names) == 1 else 'train'} {low if low == high else f'{low} to {high}'}"
            for (low, high), names in sorted(same.items(), reverse=True)
        ]
        yield f"{', '.join(spans)} epochs in all, dense training and levels included"


def _trained(results: Results, point: CurvePoint) -> set[int]:
    """Return the epochs of the point's finished trials, with those of the dense training that they start from."""
    trials = [results.trials[row.cell.fingerprint] for row in point.rows if row.status == "finished"]
    stages = [(trial, stage(trial)) for trial in trials]
    return {trial.epochs_to_train + (dense.epochs_to_train if dense else 0) for trial, dense in stages}


def _costs(results: Results) -> Iterator[str]:
    """Yield the largest ratio of two pruners' total training costs at one compression, if it is at least `FAR`."""
    ratios = []
    for points in _compared(results):
        means = {pruner: point.mean for pruner, point in points.items() if point.values and point.mean > 0}
        if len(means) > 1:
            most, least = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
            ratios.append((means[most] / means[least], most, least, points[most].compression))
    if ratios and max(ratios)[0] >= FAR:
        ratio, most, least, compression = max(ratios)
        yield (
            f"at equal compression the total training cost differs by up to {ratio:.2g} times "
            f"({most} against {least} at {compression:g}x)"
        )
