"""`seed: {until: decided}` in spaces: what it means, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces import SpaceError, load

SPACE: dict[str, Any] = {
    "dataset": "digits",
    "architecture": "mlp",
    "pruner": ["snip", "random"],
    "compression": [1, 10],
    "epochs": 3,
}


def test_the_seeds_that_may_come_are_those_from_0_on() -> None:
    space = load(SPACE | {"seed": {"until": "decided", "least": 3, "most": 5, "within": 1}})
    assert space.until is not None and space.until.within == 1
    assert space.axes["seed"] == (0, 1, 2, 3, 4) and space.size == 20
    assert load(SPACE | {"seed": [0, 1]}).until is None


def test_all_but_until_has_defaults_and_it_may_be_set_on_the_command_line() -> None:
    rule = load(SPACE, ["seed={until: decided}"]).until
    assert rule is not None and (rule.least, rule.most, rule.within) == (2, 10, 0.5)


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        ({"until": "sure"}, "seed: until: 'sure' is not allowed; it must be 'decided'"),
        ({"least": 2}, "seed: until: missing; it must be given"),
        ({"until": "decided", "least": 1}, "seed: least: 1 is not allowed; it must be greater than or equal to 2"),
        ({"until": "decided", "least": 5, "most": 3}, "seed: most 3 is not allowed; it must be at least least: 5"),
        ({"until": "decided", "most": 1}, "seed: most: 1 is not allowed; it must be greater than or equal to 2"),
        ({"until": "decided", "within": 0}, "seed: within: 0 is not allowed; it must be greater than 0"),
        ({"until": "decided", "within": True}, "seed: within: True is not allowed; it must be a number"),
        ({"until": "decided", "lest": 3}, "seed: 'lest' is not known; did you mean 'least'?"),
        ({"low": 1, "high": 3}, "seed: cannot be a range"),
    ],
)
def test_bad_values_are_refused_in_one_line(seed: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceError) as refused:
        load(SPACE | {"seed": seed})
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"search": {"trials": 3}}, "not allowed with search"),
        ({"early_stopping": "asha"}, "not allowed with early_stopping"),
        ({"measure": ["training", "critical-compression"]}, "measure critical-compression has none"),
    ],
)
def test_what_it_cannot_be_combined_with_is_refused(other: dict[str, Any], said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        load(SPACE | {"seed": {"until": "decided"}} | other)
