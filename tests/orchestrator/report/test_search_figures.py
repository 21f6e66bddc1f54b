"""The figures of a search: its history, and which settings mattered."""

from __future__ import annotations

import numpy as np
import pytest
from invented_search import PLACES, TRIALS, Made
from matplotlib.axes import Axes

from orchestrator.report.figures import search_history, search_importance, search_pareto
from orchestrator.report.figures.style import house_style
from orchestrator.report.importance import importances
from orchestrator.report.studies import tuned
from orchestrator.results.results import Results, read


@pytest.fixture(scope="module")
def results(searched: Made) -> Results:
    return read(searched.uri, "searched")


def test_the_history_draws_all_trials_and_the_best_so_far(results: Results, searched: Made) -> None:
    with house_style():
        [drawing] = search_history.draw(results)
    [axis] = drawing.figure.axes
    steps = [line for line in axis.lines if line.get_drawstyle() == "steps-post"]
    assert len(steps) == len(PLACES)
    for line, tried in zip(steps, searched.tried.values(), strict=True):
        assert np.max(np.asarray(line.get_ydata())) == pytest.approx(
            100 * max(top for _, top in tried if top is not None)
        )
    dots = [line for line in axis.lines if line.get_linestyle() == "None" and np.size(line.get_xdata()) > 1]
    assert sum(np.size(line.get_xdata()) for line in dots) == 2 * TRIALS


def test_importance_needs_trials_and_finds_what_matters(results: Results) -> None:
    for study in tuned(results):
        shares = importances(study)
        assert sum(shares.values()) == pytest.approx(1)
        assert next(iter(shares)) == "lr"  # by which the values were invented
        assert importances(type(study)(study.name, study.objectives, {}, study.rows[:9])) == {}
    with house_style():
        [drawing] = search_importance.draw(results)
        assert list(search_pareto.draw(results)) == []
    assert isinstance(drawing.figure.axes[0], Axes)
