"""Cells that a space leaves out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.planning.catalog import catalog
from search_spaces import SpaceError, expand, load

GRID = {
    "dataset": "digits",
    "architecture": ["mlp", {"name": "mlp", "width": 8}, "conv"],
    "pruner": ["random", {"name": "synflow", "iterations": 1}],
    "density": [1, 0.5, 0.1],
    "seed": [0, 1],
}
AXES = {
    "architecture": ("mlp", "mlp width=8", "conv"),
    "pruner": ("random", "synflow"),
    "density": (1, 0.5, 0.1),
    "seed": (0, 1),
}


def cells(exclude, overrides=()):
    space = load(GRID | ({} if exclude is None else {"exclude": exclude}), overrides)
    return [
        {"architecture": c.architecture, "pruner": c.pruner, "density": 1 / c.compression, "seed": c.seed}
        for c in expand(space, catalog(space))[0]
    ]


RULES = st.dictionaries(st.sampled_from(sorted(AXES)), st.none(), min_size=1).flatmap(
    lambda keys: st.fixed_dictionaries({key: st.sets(st.sampled_from(AXES[key]), min_size=1) for key in keys})
)


@given(st.lists(RULES, max_size=3))
def test_exactly_the_cells_that_match_a_line_are_left_out(rules):
    every = cells(None)
    expected = [cell for cell in every if not any(all(cell[key] in rule[key] for key in rule) for rule in rules)]
    entries = {"mlp width=8": {"name": "mlp", "width": 8}, "mlp": {"name": "mlp"}}
    written = [
        {key: [entries.get(value, value) for value in sorted(values, key=str)] for key, values in rule.items()}
        for rule in rules
    ]
    if expected:
        assert cells(written) == expected
    else:
        with pytest.raises(SpaceError, match=r"^exclude: no cell of the space is left$"):
            cells(written)


def test_a_name_alone_stands_for_all_choices_of_that_name():
    assert {cell["architecture"] for cell in cells({"architecture": "mlp"})} == {"conv"}
    assert {cell["pruner"] for cell in cells({"pruner": "synflow"})} == {"random"}


def test_seeds_may_be_written_as_a_range():
    assert cells({"architecture": "conv", "seed": "0-1"}) == cells({"architecture": "conv"})


def test_an_override_takes_away_the_lines_that_name_its_field():
    rules = [{"seed": 1}, {"pruner": "random"}]
    assert {cell["seed"] for cell in cells(rules, ["seed=[0, 1]"])} == {0, 1}
    assert {cell["pruner"] for cell in cells(rules, ["seed=[0, 1]"])} == {"synflow"}
    assert {cell["density"] for cell in cells([{"density": 0.1}], ["compression=10"])} == {0.1}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("conv", "exclude: 'conv' is not allowed; it must be a mapping"),
        ([{}], "exclude: {} is not allowed; it must be a mapping"),
        ({"epochs": 3}, "exclude: 'epochs' is not known"),
        ({"seeds": 1}, "exclude: 'seeds' is not known; did you mean 'seed'?"),
        ({"seed": 7}, "exclude: seed: 7 is no value of the space's seed"),
        ({"architecture": "convv"}, "exclude: architecture: convv is no value of the space's architecture"),
        ({"density": 0.2}, "exclude: density: 0.2 is no value of the space's density"),
    ],
)
def test_a_line_that_names_nothing_of_the_space_is_rejected(rule, message):
    with pytest.raises(SpaceError) as error:
        cells(rule)
    assert str(error.value).startswith(message)


def test_seeds_that_results_choose_cannot_be_left_out():
    with pytest.raises(SpaceError, match="exclude: seed is not allowed with"):
        cells({"seed": 0}, ["exclude={seed: 0}", "seed={until: decided}", "exclude={seed: 0}"])
