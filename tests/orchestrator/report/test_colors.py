"""What tells pruners apart in every figure."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from color_vision import DEFICIENCIES, difference, seen

from orchestrator.colors import KNOWN, look


def test_known_pruners_can_be_told_apart() -> None:
    looks = [look(name) for name in KNOWN]
    assert len({entry.color for entry in looks}) == len({entry.marker for entry in looks}) == len(KNOWN)


def test_the_measure_of_difference_is_the_published_one() -> None:
    """Pairs 1, 17 and 34 of Sharma, Wu and Dalal (2005), table 1."""
    pairs = [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ]
    for one, other, expected in pairs:
        assert difference(np.array(one), np.array(other)) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("deficiency", ["", *DEFICIENCIES])
def test_the_first_eight_are_apart_for_colour_blind_readers(deficiency: str) -> None:
    names = [name for name in KNOWN if name != "dense"][:8]  # dense is a grey reference, not a pruner
    colors = {name: seen(KNOWN[name].color, deficiency) for name in names}
    apart = {pair: difference(colors[pair[0]], colors[pair[1]]) for pair in combinations(names, 2)}
    assert {pair: found for pair, found in apart.items() if found < 10} == {}


def test_a_look_depends_on_the_label_alone() -> None:
    assert look("my-own") == look("my-own")
    assert look("snip scope=layer").dash != look("snip").dash


@pytest.mark.parametrize("settings", ["imp levels=1,2,3", "synflow iterations=1,10,100", "snip scope=layer,erk"])
def test_variants_of_a_pruner_can_be_told_apart(settings: str) -> None:
    key, _, values = settings.partition("=")
    looks = [look(f"{key}={value}") for value in values.split(",")]
    assert len({(entry.color, entry.marker) for entry in looks}) == len(looks)
    assert len({(entry.color, entry.dash) for entry in looks}) == len(looks)
