import pytest

from pruners import SCHEDULES, PruningError, densities


def test_by_hand():
    assert densities("oneshot", 0.25, 1) == [0.25]
    assert densities("exponential", 0.25, 2) == [0.5, 0.25]
    assert densities("linear", 0.25, 3) == [0.75, 0.5, 0.25]
    # Zhu and Gupta 2017, equation 1: sparsity 3/4 (1 - (1 - t/2)^3) = 3/4 7/8 and 3/4.
    assert densities("cubic", 0.25, 2) == [1 - 21 / 32, 0.25]


@pytest.mark.parametrize("schedule", ["exponential", "linear", "cubic"])
@pytest.mark.parametrize("compression", [1, 1.1, 3, 3.16, 7, 10, 1000])
@pytest.mark.parametrize("iterations", [1, 3, 100])
def test_falls_to_exactly_what_was_asked(schedule, compression, iterations):
    visited = densities(schedule, 1 / compression, iterations)
    assert len(visited) == iterations
    assert visited[-1] == 1 / compression
    assert visited == sorted(visited, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("expo", 0.5, 1), "'expo'.*Did you mean 'exponential'"),
        (("oneshot", 0.5, 2), "oneshot schedule has 1 iteration, not 2"),
        (("linear", 0.5, 0), "at least 1"),
        (("linear", 0.0, 1), r"\(0, 1\]"),
        (("linear", 1.5, 1), r"\(0, 1\]"),
        (("linear", float("nan"), 1), r"\(0, 1\]"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(PruningError, match=message):
        densities(*arguments)


def test_names():
    assert SCHEDULES == ("oneshot", "exponential", "linear", "cubic")
