"""Times in pairs, with a clock that only the timed functions advance."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trainables.paired_times import LEAST, MOST, SECONDS, SPAN, paired_times


class Machine:
    """A clock, and functions that advance it; `load` returns how much longer everything takes at a time."""

    def __init__(self, load: Callable[[float], float] = lambda now: 1.0):
        self.now, self.load = 0.0, load
        self.calls = ""

    def takes(self, name: str, seconds: float) -> Callable[[], None]:
        def function() -> None:
            self.calls += name
            self.now += seconds * self.load(self.now)

        return function

    def pairs(self, first: float, second: float) -> list[tuple[float, float]]:
        return paired_times(self.takes("a", first), self.takes("b", second), lambda: self.now)


def test_which_function_is_first_alternates():
    machine = Machine()
    pairs = machine.pairs(0.03, 0.01)
    assert pairs == [pytest.approx((0.03, 0.01))] * len(pairs)
    assert machine.calls[:4] == "aabb"  # before any is timed
    assert machine.calls[4:12] == "abbaabba"


@pytest.mark.parametrize(
    ("first", "second", "pairs"), [(9.0, 3.0, LEAST), (SECONDS / 20, SECONDS / 20, 10), (0.001, 0.002, MOST)]
)
def test_slow_functions_have_fewer_pairs(first, second, pairs):
    assert len(Machine().pairs(first, second)) == pairs


def test_slow_functions_are_called_once_a_pair_and_twice_before():
    machine = Machine()
    machine.pairs(9.0, 3.0)
    assert len(machine.calls) == 2 * (2 + LEAST)


def test_short_functions_are_called_until_the_clock_can_tell():
    machine = Machine()
    assert machine.pairs(SPAN / 100, SPAN) == [pytest.approx((SPAN / 100, SPAN))] * MOST
    assert machine.calls.count("a") == pytest.approx(100 * MOST, rel=0.05)
    assert machine.calls.count("b") == pytest.approx(MOST, abs=3)


def test_a_slow_machine_changes_both_times_of_a_pair():
    slower = Machine(lambda now: 1 + 9 * now)  # ten times slower after a second
    ratios = [first / second for first, second in slower.pairs(0.004, 0.002)]
    assert ratios == [pytest.approx(2, rel=0.1)] * len(ratios)
