"""What is searched, where, and by how many trials."""

from __future__ import annotations

import pytest

from orchestrator.planning.catalog import catalog
from search_spaces import Grid, SpaceError, expand, load, studies
from search_spaces.search import read_early_stopping, read_range

LR = {"low": 0.001, "high": 0.1, "log": True}
BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "snip", "compression": 4, "validation": 0.2}


TWO = ["validation/top1", "model/latency_ms"]


def of(**fields):
    return studies(load(BASE | {"search": {"trials": 3}} | fields), catalog())


def test_each_cell_of_the_grid_is_a_study_of_its_own():
    found = of(lr=LR, pruner=["snip", "synflow"], compression=[2, 4])
    assert [study.name for study in found] == [
        "digits mlp snip 2x",
        "digits mlp snip 4x",
        "digits mlp synflow 2x",
        "digits mlp synflow 4x",
    ]


def test_cells_that_are_one_search_share_a_study():
    dense, *pruned = of(lr=LR, pruner=["snip", "synflow"], compression=[1, 4])
    assert dense.name == "digits mlp dense"
    assert [point["pruner"]["name"] for point in dense.points] == ["snip", "synflow"]
    assert [len(study.points) for study in pruned] == [1, 1]


def test_a_setting_is_searched_only_where_its_choice_is_made():
    space = load(BASE | {"pruner": ["snip", {"name": "synflow", "iterations": {"low": 1, "high": 100}}], "lr": LR})
    grid = Grid(space, catalog())
    assert [list(grid.ranges(point)) for point in grid.points()] == [["lr"], ["lr", "pruner.iterations"]]


def test_what_makes_no_difference_is_not_searched():
    images = {"low": 1, "high": 20}
    space = load(BASE | {"pruner": ["snip", "synflow"], "compression": [1, 4], "samples_per_class": images})
    grid = Grid(space, catalog())
    assert [bool(grid.ranges(point)) for point in grid.points()] == [False, True, False, False]


def test_a_value_that_is_listed_twice_hides_no_other():
    grid = Grid(load(BASE | {"lr": {"choices": [0.1, 0.1, 0.2]}}), catalog())
    assert [list(grid.ranges(point)) for point in grid.points()] == [["lr"]]


def test_points_with_nothing_to_search_are_trials_as_ever():
    synflow = {"name": "synflow", "iterations": {"choices": [1, 100]}}
    space = load(BASE | {"pruner": ["snip", synflow], "search": {"trials": 2}})
    cells, trials = expand(space, catalog())
    assert [cell.pruner for cell in cells] == ["snip"]
    assert len(trials) == 1
    (study,) = studies(space, catalog())
    cell, trial = Grid(space, catalog()).at(study.points[0], {"pruner.iterations": 7}, "search", study.name)
    assert (trial.iterations, cell.searched, cell.role, cell.pruner) == (
        7,
        {"pruner.iterations": 7},
        "search",
        "synflow",
    )


def test_a_searched_width_leaves_the_cell_its_name():
    space = load(BASE | {"architecture": {"name": "mlp", "width": {"low": 10, "high": 30}}})
    (point,) = Grid(space, catalog()).points()
    cell, trial = Grid(space, catalog()).at(point, {"architecture.width": 20})
    assert (cell.architecture, trial.network.label) == ("mlp", "mlp width=20")


def test_one_study_may_choose_between_all_cells():
    (study,) = of(lr=LR, pruner=["snip", "synflow"], compression=[1, 4], search={"trials": 9, "per": "sweep"})
    assert len(study.points) == 4
    assert expand(load(BASE | {"search": {"trials": 9, "per": "sweep"}, "compression": [1, 4]}), catalog()) == ((), ())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": LR, "search": None}, "lr: is searched, but there is no search"),
        ({}, "search: nothing is searched"),
        ({"lr": LR, "validation": 0}, "validation: validation/top1 needs held-out images, but none are"),
        ({"lr": LR, "seed": [0, 1]}, "seed: a search has one"),
        (
            {"lr": LR, "search": {"trials": 2, "objective": "final/top1"}},
            "objective: 'final/top1' is not known",
        ),
        ({"lr": LR, "search": {"trials": 2, "first": [{"momentum": 0.5}]}}, "search: first: 'momentum' is not known"),
        ({"lr": LR, "search": {"trials": 0}}, "search: trials: "),
        ({"lr": LR, "search": {"trails": 2}}, "did you mean 'trials'"),
        ({"lr": {"low": 0, "high": 1, "log": True}}, "lr: log needs low above 0"),
        ({"lr": {"low": 1, "high": 1}}, "lr: low 1 must be less than high 1"),
        ({"lr": {"low": -1, "high": 1}}, "lr: -1 is not allowed"),
        ({"epochs": {"low": 1.5, "high": 3}}, "epochs: 1.5 is not allowed"),
        ({"compression": {"low": 2, "high": 4}}, "compression: cannot be a range"),
        ({"pruner": {"name": "synflow", "norm": {"choices": ["l1", "l3"]}}}, "l3"),
        ({"early_stopping": "asha", "validation": 0, "search": None}, "validation: validation/top1"),
        ({"early_stopping": {"name": "asha", "group": ["color"]}, "search": None}, "early_stopping: group: 'color'"),
        ({"lr": {"choices": []}}, "lr: choices must be a list of at least one value"),
        ({"lr": {"choices": [0.1], "low": 0.1}}, "lr: choices must be a list of at least one value, without low"),
        ({"lr": LR, "search": {"trials": 2, "objective": TWO, "sampler": "gp"}}, "sampler: gp has one objective"),
        ({"lr": LR, "search": {"trials": 2, "objective": TWO, "confirm_seeds": 1}}, "several objectives have no"),
        ({"early_stopping": "bandit"}, "early_stopping: name: "),
        ({"measure": "unit-conservation", "lr": LR}, "search: measure unit-conservation has no accuracy"),
        ({"measure": ["training", "unit-conservation"], "early_stopping": "asha", "search": None}, "early_stopping: m"),
    ],
)
def test_a_search_that_cannot_be_is_refused(fields, message):
    wanted = BASE | {"search": {"trials": 3}} | fields
    with pytest.raises(SpaceError) as refusal:
        studies(load({key: value for key, value in wanted.items() if value is not None}), catalog())
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "search",
    [
        {"trials": 1, "sampler": "gp", "confirm_seeds": 2, "objective": "validation/loss"},
        {"trials": 1, "sampler": "nsga2", "objective": TWO},
    ],
)
def test_a_search_that_can_be(search):
    asked = load(BASE | {"lr": LR, "search": search}).search
    assert (asked.sampler, asked.confirm_seeds) == (search["sampler"], search.get("confirm_seeds", 0))


def test_whole_numbers_are_searched_where_all_that_is_named_is_whole():
    whole = [{"low": 1, "high": 3}, {"low": 1, "high": 9, "step": 2}, {"low": 1, "high": 2.5}, {"low": 0.5, "high": 2}]
    assert [read_range("x", one).whole for one in whole] == [True, True, False, False]


def test_a_rule_says_all_that_decides():
    rule = read_early_stopping("asha").rule
    assert rule == "asha of validation/top1, grace 1, reduction 3, same dataset and architecture and compression"
    alone = read_early_stopping({"name": "median", "grace_epochs": 5, "group": []})
    assert alone.rule == "median of validation/top1, grace 5, reduction 3, same nothing"
    assert alone.stopped(f"epoch 12 by {alone.rule}") and not alone.stopped(f"epoch 12 by {rule}")


@pytest.mark.parametrize(
    ("searched", "count"),
    [
        ({"choices": [0.1, 0.2, 0.3]}, 3),
        ({"low": 1, "high": 8}, None),  # of the learning rate, which takes fractions
        ({"low": 0.1, "high": 0.7, "step": 0.1}, 7),
        ({"low": 0.1, "high": 0.75, "step": 0.2}, 4),
        ({"low": 0.1, "high": 0.7}, None),
    ],
)
def test_how_many_settings_there_are_to_try(searched, count):
    space = {"dataset": "digits", "architecture": "mlp", "pruner": "snip", "validation": 0.1, "lr": searched}
    epochs = {"epochs": {"low": 1, "high": 8, "step": 3}}
    for more, times in (({}, 1), (epochs, 3)):
        (study,) = studies(load(space | more | {"search": {"trials": 5}}), catalog())
        assert study.settings == (count and times * count)
