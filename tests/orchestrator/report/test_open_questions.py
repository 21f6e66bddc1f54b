"""What would decide an open comparison: how many seeds, how many hours, and which command."""

from __future__ import annotations

import shlex
from dataclasses import replace

import numpy as np
import pytest
from invented_sweep import Store, build

from benchmarks.verdicts import SCENARIOS, power
from orchestrator.report.open_questions import MOST, open_questions, seeds_to_decide, until_decided, what_would_decide
from orchestrator.report.statistics import SeedMean
from orchestrator.report.verdicts import PairVerdict, SeedTest
from orchestrator.results.results import Results, read
from search_spaces import load


def pair(apart: float, error: float, seeds: int = 3) -> PairVerdict:
    return PairVerdict(10, "a", "b", 0.01, tuple(range(seeds)), SeedTest(SeedMean(apart, error, 4.0), 0.0, seeds))


def test_the_number_of_seeds_is_that_of_the_usual_formula() -> None:
    """For 5 % of one comparison and a power of 80 %: (1.960 + 0.842)² times the variance over the squared distance."""
    assert seeds_to_decide(pair(0.1, 0.06), 1) == 9  # 7.849 * 3 * 0.06² / 0.1² = 8.48
    assert seeds_to_decide(pair(0.1, 0.06), 10) > 9  # type: ignore[operator]  # more comparisons ask for more
    assert seeds_to_decide(pair(0.5, 0.06), 1) == 4  # at least one more than there are
    assert seeds_to_decide(pair(0.1, 0.6), 1) is None  # more than MOST
    assert seeds_to_decide(replace(pair(0.1, 0.06), over_seeds=None), 1) is None


def test_as_many_seeds_do_decide_in_simulation() -> None:
    """Neighbours a point apart with deviations of 0.3, beside 25 open pairs: the number told decides most of them."""
    error = 0.3 / 100 / (0.91 * 0.09) * (2 / 3) ** 0.5  # at 91 %, on the scale of logits, over three seeds
    told = seeds_to_decide(pair(0.01 / (0.91 * 0.09), error), 25)
    assert told is not None and told <= MOST
    assert power(SCENARIOS[0], told, 10, np.random.default_rng(0))[0].value > 0.6


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("digits", "digits"),
        ("digits --set seed=4 --local", "digits --local"),
        ("digits '--set=seed=[0, 1]' --set epochs=3", "digits --set epochs=3"),
    ],
)
def test_the_command_is_the_sweeps_own_with_seeds_until_decided(command: str, expected: str) -> None:
    told = until_decided(command, {"until": "decided", "least": 3, "most": 10, "within": None})
    assert told == f"python -m orchestrator.sweep {expected} --set 'seed={{until: decided, least: 3, most: 10}}'"
    space = load("digits", [shlex.split(told)[-1]])
    assert space.until is not None and (space.until.least, space.until.most) == (3, 10)


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    build(store.folder, "open", ["mlp"], ["magnitude", "snip", "synflow"], [1, 2.5, 50], [0, 1, 2, 3], layers=2)
    return read(store.uri, "open")


def test_only_comparisons_with_a_leader_are_asked(results: Results) -> None:
    found = open_questions(results)
    assert found and all(question.pair.compression == 2.5 for question in found)  # at 50x they are far apart
    near = [question for question in found if question.seeds is not None]
    assert near
    for question in near:
        assert question.seeds > len(question.pair.seeds)  # type: ignore[operator]
        assert question.hours == pytest.approx(question.further * 2 * 60 / 3600)  # type: ignore[operator]  # a minute each
    said = what_would_decide(results)
    assert said[0].startswith(f"{len(found)} comparison")
    assert f"{near[0].further} more seeds if it is as large as it looks" in said[1]
    [command] = [line for line in said if line.startswith("To decide th")]
    assert "run further seeds only where a comparison is open" in command and " trials, " in command
    assert "python -m orchestrator.sweep open" in command and "http://host" in command  # without the password
    most = max(10, *(question.seeds or 0 for question in near))
    assert command.endswith(f"--set 'seed={{until: decided, least: 4, most: {most}}}'")
    short = what_would_decide(results, shown=0)
    assert f"{len(near)} more are in the report." in short


def test_with_one_seed_further_ones_come_where_they_are_needed(results: Results) -> None:
    alone = replace(results, rows=tuple(row for row in results.rows if row.cell.seed == 0))
    [said] = what_would_decide(alone)
    assert "with one seed the spread is not known. Seeds only where they are needed: " in said
    assert said.endswith("--set 'seed={until: decided, least: 2, most: 10}'")


def test_a_search_has_no_such_command(results: Results) -> None:
    searched = replace(results.sweeps[0], plan={**results.sweeps[0].plan, "search": {"trials": 3}})
    assert "orchestrator.sweep" not in " ".join(what_would_decide(replace(results, sweeps=(searched,))))
