"""What grows with the square of a sweep holds up its driver for minutes: the work for each trial must stay the same."""

from __future__ import annotations

import pytest
from optuna.storages import InMemoryStorage

from orchestrator.planning.catalog import catalog
from orchestrator.planning.plan import plan
from orchestrator.search.optuna_study import StudySearcher
from search_spaces import Grid, Trial, load, studies

SPACE = {"dataset": "digits", "architecture": "mlp", "pruner": "magnitude", "compression": [1, 4], "epochs": 2}


@pytest.fixture
def hashed(monkeypatch):
    """How many fingerprints are computed, 20 microseconds each, while something is done."""
    original, calls = Trial._hash, []
    monkeypatch.setattr(Trial, "_hash", lambda *given: calls.append(given) or original(*given))

    def count(work):
        calls.clear()
        work()
        return len(calls)

    return count


def test_a_plan_looks_at_each_trial_a_few_times(hashed, tmp_path):
    few, many = (
        hashed(lambda count=count: plan(load(SPACE | {"seed": list(range(count))}), cache=tmp_path))
        for count in (10, 40)
    )
    assert many <= 5 * few


def test_a_search_asks_for_a_trial_without_looking_at_all_before(hashed):
    searched = SPACE | {
        "validation": 0.2,
        "lr": {"low": 0.001, "high": 1.0},
        "search": {"trials": 80, "sampler": "random"},
    }
    grid = Grid(load(searched), catalog())
    seeker = StudySearcher(grid, studies(grid.space, catalog()), InMemoryStorage(), lambda fingerprint: None)
    first, *_, last = (hashed(lambda: [seeker.next(90) for _ in range(10)]) for _ in range(8))
    assert last <= 2 * first
