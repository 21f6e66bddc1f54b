"""Sweeps of one experiment that differ in what neither varies are not seeds of one another."""

from __future__ import annotations

from orchestrator.planning.catalog import catalog
from orchestrator.results.union import unite
from search_spaces import expand, load

BASE = {"dataset": "digits", "architecture": "mlp", "pruner": ["snip", "synflow"], "compression": [1, 4], "epochs": 2}


def sweeps(*changes):
    made = [expand(load(BASE | change), catalog()) for change in changes]
    trials = {trial.fingerprint: trial for _, unique in made for trial in unique}
    return unite([cells for cells, _ in made], trials)


def test_the_same_question_again_adds_nothing():
    assert len(sweeps({}, {})) == 4
    assert all(cell.settings == {} for cell in sweeps({}, {}))


def test_an_added_compression_joins_the_lines():
    cells = sweeps({}, {"compression": [1, 4, 8]})
    assert len(cells) == 6
    assert {cell.pruner for cell in cells} == {"snip", "synflow"}


def test_another_recipe_is_another_panel():
    cells = sweeps({}, {"epochs": 4})
    assert {(cell.settings["epochs"]) for cell in cells} == {2, 4}
    assert len(cells) == 8
    schedule = sweeps({}, {"lr_schedule": {"name": "step", "drops": [1, 2]}})
    assert {cell.settings["lr_drops"] for cell in schedule} == {"", "1 2"}


def test_a_label_that_means_two_things_is_told_apart():
    one = {"pruner": [{"name": "synflow", "iterations": 1}]}
    cells = sweeps({}, one)
    assert {cell.pruner for cell in cells} == {
        "snip",
        "synflow schedule=exponential iterations=100",
        "synflow schedule=oneshot iterations=1",
    }
