"""A report says so if the pruners that it compares were not given the same budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from invented_sweep import Store

from orchestrator.report.budgets import budget_words
from orchestrator.report.summary_text import headline
from orchestrator.results.results import Results, read
from search_spaces import Trial


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


def changed(results: Results, pruner: str, cost: float = 1.0, **fields: int) -> Results:
    """The results, had the trials of a pruner other fields and cost as many times as much."""
    trials: dict[str, Trial] = {}
    rows = []
    for row in results.rows:
        trial = results.trials[row.cell.fingerprint]
        mine = trial.pruner == pruner
        trials[row.cell.fingerprint] = trial.model_copy(update=fields) if mine else trial
        metrics = {
            key: value * (cost if mine and key == "cost/training_macs" else 1) for key, value in row.metrics.items()
        }
        rows.append(replace(row, metrics=metrics))
    return replace(results, rows=tuple(rows), trials=trials)


def test_equal_budgets_are_not_mentioned(results: Results) -> None:
    assert budget_words(results) == []
    assert budget_words(changed(results, "snip", cost=1.9)) == []


def test_epochs_that_differ_are_said_with_those_of_dense_training_and_levels(results: Results) -> None:
    tail = "epochs in all, dense training and levels included."
    (said,) = budget_words(changed(results, "snip", pretrain_epochs=7))
    assert said == f"Budgets differ: snip trains 10, random and synflow train 3 {tail}"
    (said,) = budget_words(changed(results, "synflow", levels=2))
    assert said == f"Budgets differ: synflow trains 9, random and snip train 3 {tail}"


def test_a_cost_that_is_far_from_another_is_said_with_its_place(results: Results) -> None:
    (said,) = budget_words(changed(results, "synflow", cost=5))
    assert said.startswith(
        "Budgets differ: at equal compression the total training cost differs by up to 5 times (synflow"
    )


def test_the_headline_has_it_in_one_sentence(results: Results) -> None:
    longer = changed(results, "snip", cost=3, pretrain_epochs=7)
    assert [line for line in headline(longer) if line.startswith("Budgets")] == budget_words(longer)
    assert len(budget_words(longer)) == 1
