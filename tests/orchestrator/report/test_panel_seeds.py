"""Which seeds a panel needs next: a function of its results, whatever the order in which they come."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from orchestrator.report.panel_seeds import PanelPlace, PanelSeeds
from search_spaces import UntilDecided

RULE = UntilDecided(until="decided", least=2, most=6)
PRUNERS = ("a", "b", "c")
PLACES = [(float(compression), pruner) for compression in (2, 5, 10) for pruner in PRUNERS]
Top1 = Callable[[PanelPlace, int], float | None]


def noise(place: PanelPlace, seed: int) -> float:
    return random.Random(f"{place} {seed}").gauss(0, 0.003)


def near_and_far(place: PanelPlace, seed: int) -> float:
    """At 2x b is close to the best; everything else is far away."""
    gap = {"a": 0.0, "b": 0.004 if place[0] == 2 else 0.2, "c": 0.4}[place[1]]
    return 0.92 - gap + noise(place, seed)


def run(top1: Top1, dice: random.Random | None = None, rule: UntilDecided = RULE) -> PanelSeeds:
    """Give a panel all that it wants, one result at a time, in the order it wants them or in a random one."""
    panel = PanelSeeds(PLACES, rule)
    for _ in range(1000):
        wanted = panel.wanted()
        if not wanted:
            return panel
        _, place, seed = dice.choice(wanted) if dice else wanted[0]
        panel.add(place, seed, top1(place, seed))
    raise AssertionError("it wants trials for ever")


def test_only_open_comparisons_get_further_seeds() -> None:
    panel = run(near_and_far)
    assert all(panel.asked[place] < RULE.most for place in PLACES if place[0] != 2)
    assert panel.asked[2.0, "a"] == panel.asked[2.0, "b"] > panel.asked[2.0, "c"]
    assert sum(panel.asked.values()) < RULE.most * len(PLACES)
    endings = {(question.compression, question.other): question.ending for question in panel.questions}
    assert endings[5, "b"] == endings[10, "c"] == endings[2, "c"] == "decided"


@pytest.mark.parametrize("number", range(3))
def test_the_order_in_which_results_come_changes_nothing(number: int) -> None:
    first, other = run(near_and_far), run(near_and_far, random.Random(number))
    assert other.asked == first.asked and other.questions == first.questions


def test_what_was_known_before_is_not_wanted_again() -> None:
    whole = run(near_and_far)
    again = PanelSeeds(PLACES, RULE)
    for place, count in whole.asked.items():
        for seed in range(count):
            again.add(place, seed, near_and_far(place, seed))
    assert again.wanted() == [] and again.asked == whole.asked and again.questions == whole.questions


def test_nothing_is_judged_before_all_have_their_seeds() -> None:
    panel = PanelSeeds(PLACES, RULE)
    wanted = panel.wanted()
    assert len(wanted) == RULE.least * len(PLACES)
    for _, place, seed in wanted[1:]:
        panel.add(place, seed, near_and_far(place, seed))
    assert [each[1:] for each in panel.wanted()] == [wanted[0][1:]] and panel.questions == []


def test_the_most_promising_comparison_comes_first() -> None:
    panel = PanelSeeds(PLACES, RULE)
    for _, place, seed in panel.wanted():
        gap = {2.0: 0.001, 5.0: 0.012, 10.0: 0.3}[place[0]] * PRUNERS.index(place[1])
        panel.add(place, seed, 0.95 - gap + noise(place, seed))
    wanted = panel.wanted()
    assert [promise for promise, *_ in wanted] == sorted(promise for promise, *_ in wanted)
    assert wanted[0][1][0] == 5 and wanted[-1][1][0] == 2


def test_equal_pruners_are_shown_to_be_equal_where_the_margin_is_wide() -> None:
    panel = run(lambda place, seed: 0.92 + noise(place, seed), rule=RULE.model_copy(update={"within": 2.0}))
    assert {question.ending for question in panel.questions} == {"equal"}
    assert sum(panel.asked.values()) < RULE.most * len(PLACES)


def test_at_the_most_seeds_a_comparison_stays_open() -> None:
    panel = run(lambda place, seed: 0.92 + noise(place, seed), rule=RULE.model_copy(update={"within": 0.01}))
    assert {question.ending for question in panel.questions} == {"open"}
    assert set(panel.asked.values()) == {RULE.most}


def test_networks_that_all_guess_are_equal_and_end() -> None:
    panel = run(lambda place, seed: 0.1)
    assert {question.ending for question in panel.questions} == {"equal"}
    assert set(panel.asked.values()) == {RULE.least}


def test_a_cell_whose_trials_fail_does_not_loop() -> None:
    def failing(place: PanelPlace, seed: int) -> float | None:
        return None if place == (2.0, "b") else near_and_far(place, seed)

    panel = run(failing)
    assert panel.asked[2.0, "b"] == RULE.least  # without any result it is no rival
    assert {question.other for question in panel.questions if question.compression == 2} == {"c"}


def test_a_failed_seed_is_one_seed_less() -> None:
    panel = run(lambda place, seed: None if (place, seed) == ((2.0, "b"), 1) else near_and_far(place, seed))
    assert RULE.least < panel.asked[2.0, "b"] <= RULE.most
