"""Further seeds of a sweep, from invented results: what is asked for, recorded, and the same after a restart."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from orchestrator.live.trial_sources import FurtherSeeds
from orchestrator.planning import Plan, plan
from orchestrator.search.until_decided import SeedsUntilDecided
from search_spaces import SpaceError, Trial, load

SPACE = {
    "name": "invented",
    "dataset": "digits",
    "architecture": "mlp",
    "pruner": ["random", "magnitude", "snip"],
    "compression": [1, 4, 20],
    "seed": {"until": "decided", "most": 6},
    "epochs": 1,
}


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(load(SPACE))


def top1(trial: Trial) -> float:
    gap = {"random": 0.3, "magnitude": 0.004 if trial.compression == 4 else 0.1}.get(trial.pruner, 0.0)
    return 0.9 - gap + random.Random(f"{trial.pruner} {trial.compression} {trial.seed}").gauss(0, 0.003)


class Sweep:
    """A sweep whose trials end at once; those in `failing` without a result."""

    def __init__(self, planned: Plan, finished: Mapping[str, float] | None = None, failing: str = "") -> None:
        self.results = dict(finished or {})
        self.failing, self.ran = failing, list[str]()
        known = {fingerprint: {"final/top1": value} for fingerprint, value in self.results.items()}
        self.seeds = SeedsUntilDecided(planned, known, self._result)
        self.first = [trial for trial in planned.trials if trial.fingerprint not in self.results]
        self.source = FurtherSeeds(self.seeds, lambda trial: trial.fingerprint not in self.results)

    def _result(self, fingerprint: str) -> dict[str, float] | None:
        return {"final/top1": self.results[fingerprint]} if fingerprint in self.results else None

    def run(self, trials: int = 1000, dice: random.Random | None = None) -> None:
        """Run at most so many trials, with four at once that end in a random order if there are `dice`."""
        running: list[Trial] = []
        while trials and not (self.source.over and not self.first):
            while len(running) < (4 if dice else 1):
                trial = self.first.pop(0) if self.first else self.source.next(4)
                if trial is None:
                    break
                running.append(trial)
            trial = running.pop(dice.randrange(len(running)) if dice else 0)
            trials -= 1
            self.ran.append(trial.fingerprint)
            if trial.name != self.failing:
                self.results[trial.fingerprint] = top1(trial)
            self.source.ended(trial.fingerprint, finished=trial.name != self.failing)


def test_a_plan_has_the_first_seeds_and_what_may_come(planned: Plan) -> None:
    assert {cell.seed for cell in planned.cells} == {0, 1}
    assert planned.seeds is not None
    assert {cell.seed for cell in planned.seeds.cells} == {2, 3, 4, 5}
    assert {cell.compression for cell in planned.seeds.cells} == {4, 20}  # at 1x there is nothing to compare
    assert len(planned.trials) == 2 * 7 and len(planned.seeds.trials) == 4 * 6
    assert planned.seeds.full == 6 * 7 == planned.record()["until"]["full"]
    most = planned.with_most_seeds
    assert len(most.trials) == 2 * 7 + 4 * 6 and most.seeds is None


def test_only_what_is_open_is_asked_for(planned: Plan) -> None:
    whole = Sweep(planned)
    whole.run()
    assert len(whole.ran) == len(set(whole.ran)) < 2 * 7 + 4 * 6
    asked = list(whole.seeds.asked)
    assert {trial.compression for trial in asked} == {4}
    assert whole.seeds.over and whole.seeds.words.endswith("of 4 comparisons open")
    record = whole.seeds.record(planned.record(), frozenset(whole.results))
    assert len(record["trials"]) == len(whole.ran)
    assert len(record["cells"]) == len(planned.cells) + len(asked)


@pytest.mark.parametrize("number", range(3))
def test_kills_and_the_order_of_ends_change_nothing(planned: Plan, number: int) -> None:
    whole = Sweep(planned)
    whole.run()
    dice = random.Random(number)
    finished: dict[str, float] = {}
    for _ in range(3):
        part = Sweep(planned, finished)
        part.run(dice.randrange(3, 9), dice)
        finished = part.results
    last = Sweep(planned, finished)
    last.run(dice=dice)
    assert last.results == whole.results
    assert {trial.fingerprint for trial in last.seeds.asked} == {trial.fingerprint for trial in whole.seeds.asked}
    done = Sweep(planned, last.results)
    assert done.seeds.over and done.source.next(4) is None


def test_a_failed_trial_is_not_asked_for_again_before_the_next_run(planned: Plan) -> None:
    failing = "mlp digits magnitude 4x s1"
    sweep = Sweep(planned, failing=failing)
    sweep.run()
    assert len(sweep.ran) == len(set(sweep.ran)) and sweep.seeds.over
    again = Sweep(planned, sweep.results, failing)
    assert [trial.name for trial in again.first] == [failing] and not again.seeds.over
    again.run()
    assert again.results == sweep.results


def test_one_pruner_alone_is_refused() -> None:
    with pytest.raises(SpaceError, match="seed: until: decided has nothing to compare"):
        plan(load(SPACE | {"pruner": "snip"}))
