"""Studies ask for trials, are told what came of them, and go on after a crash."""

from __future__ import annotations

import math
from statistics import median

import optuna
import pytest
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState

from orchestrator.planning.catalog import catalog
from orchestrator.search.optuna_study import StudySearcher
from search_spaces import Grid, load, studies

LR = {"low": 0.0001, "high": 1.0, "log": True}
BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "snip", "compression": 4, "validation": 0.2, "lr": LR}


class Lab:
    """Computes trials by a formula whose optimum is known: lr 0.02 and momentum 0.9 give 1."""

    def __init__(self, folder, **fields):
        self.grid = Grid(load(BASE | {"search": {"trials": 4}} | fields), catalog())
        self.storage = RDBStorage(f"sqlite:///{folder}/optuna.db") if folder else InMemoryStorage()
        self.results = {}
        self.ran = []

    def seeker(self):
        return StudySearcher(self.grid, studies(self.grid.space, catalog()), self.storage, self.results.get)

    def compute(self, trial):
        self.ran.append(trial.fingerprint)
        far = (math.log10(trial.lr) - math.log10(0.02)) ** 2 + 4 * (trial.momentum - 0.9) ** 2
        self.results[trial.fingerprint] = {
            "final/validation_top1": 1 - far,
            "final/top1": 1 - far - trial.lr,  # the test set would choose otherwise
            "model/params_kept": 1000 * trial.lr,
        }

    def run(self, seeker, most=10**6):
        for _ in range(most):
            trial = seeker.next(1)
            if trial is None:
                break
            self.compute(trial)
            seeker.ended(trial.fingerprint)


def test_every_cell_gets_its_trials_and_the_best_one_is_found(tmp_path):
    lab = Lab(tmp_path, pruner=["snip", "synflow"], compression=[1, 4], search={"trials": 5})
    seeker = lab.seeker()
    lab.run(seeker)
    assert seeker.over
    assert len(lab.ran) == 3 * 5  # at 1x both pruners are one study
    best = seeker.best()
    assert [(cell.pruner, cell.compression, cell.role) for cell, _ in best] == [
        ("snip", 1, "grid"),
        ("synflow", 1, "grid"),
        ("snip", 4, "grid"),
        ("synflow", 4, "grid"),
    ]
    for cell, trial in best:
        rivals = [a for a in seeker.asked if a.cell.study == cell.study]
        values = [lab.results[a.trial.fingerprint]["final/validation_top1"] for a in rivals]
        assert lab.results[trial.fingerprint]["final/validation_top1"] == max(values)
        assert cell.searched == {"lr": trial.lr}


def test_a_new_driver_hands_out_what_was_asked_and_never_told(tmp_path):
    lab = Lab(tmp_path)
    first = lab.seeker()
    lab.run(first, most=2)
    lost = [first.next(2), first.next(2)]
    second = lab.seeker()
    assert [second.next(2), second.next(2)] == lost
    for trial in lost:
        lab.compute(trial)
        second.ended(trial.fingerprint)
    assert second.over
    assert len(set(lab.ran)) == 4
    third = lab.seeker()
    assert third.over
    assert third.next(1) is None
    assert third.best() == second.best()


def test_a_result_that_came_in_after_the_driver_died_is_taken(tmp_path):
    lab = Lab(tmp_path, search={"trials": 1})
    lab.compute(lab.seeker().next(1))
    second = lab.seeker()
    assert second.next(1) is None
    assert second.over
    assert len(second.best()) == 1


def test_more_trials_go_on_with_the_same_study_and_another_range_is_another(tmp_path):
    lab = Lab(tmp_path, search={"trials": 3})
    lab.run(lab.seeker())
    more = Lab(tmp_path, search={"trials": 5})
    more.results = lab.results
    more.run(more.seeker())
    assert len(more.ran) == 2
    other = Lab(tmp_path, search={"trials": 3}, lr={"low": 0.01, "high": 0.1})
    other.run(other.seeker())
    assert len(other.ran) == 3


def test_no_more_than_asked_for_are_on_their_way(tmp_path):
    seeker = Lab(tmp_path, pruner=["snip", "synflow"]).seeker()
    names = [seeker.next(2) for _ in range(5)]
    assert [trial and trial.pruner for trial in names] == ["snip", "synflow", "snip", "synflow", None]


def test_a_failed_trial_is_told_and_costs_one_of_the_budget(tmp_path):
    lab = Lab(tmp_path)
    seeker = lab.seeker()
    trial = seeker.next(1)
    seeker.ended(trial.fingerprint)  # no result
    lab.run(seeker)
    assert len(lab.ran) == 3
    assert trial.fingerprint not in {t.fingerprint for _, t in seeker.best()}


def test_settings_known_to_be_good_come_first(tmp_path):
    assert Lab(tmp_path, search={"trials": 2, "first": [{"lr": 0.05}]}).seeker().next(1).lr == 0.05


def test_the_best_is_run_with_fresh_seeds(tmp_path):
    lab = Lab(tmp_path, search={"trials": 3, "confirm_seeds": 2}, seed=7)
    seeker = lab.seeker()
    lab.run(seeker)
    (_, one), (_, other) = seeker.best()
    assert (one.seed, other.seed) == (8, 9)
    assert one.lr == other.lr
    assert one.config == other.config


def test_one_study_chooses_between_pruners_too(tmp_path):
    lab = Lab(tmp_path, pruner=["snip", "synflow"], compression=[2, 4], search={"trials": 12, "per": "sweep"})
    seeker = lab.seeker()
    lab.run(seeker)
    assert len({(a.trial.pruner, a.trial.compression) for a in seeker.asked}) > 1
    cells = [(cell.pruner, cell.compression) for cell, _ in seeker.best()]
    assert len(cells) == len(set(cells))


def test_several_objectives_have_no_single_best(tmp_path):
    lab = Lab(tmp_path, search={"trials": 6, "objective": ["validation/top1", "model/params_kept"], "sampler": "nsga2"})
    seeker = lab.seeker()
    lab.run(seeker)
    assert seeker.best() == ()
    (running,) = seeker.studies
    assert running.optuna.metric_names == ["validation/top1", "model/params_kept"]
    assert 1 <= len(running.optuna.best_trials) <= 6


def test_a_search_that_learns_beats_one_that_does_not():
    """lr and momentum by a smooth formula, 30 trials: the median distance from the optimum over ten seeds."""

    def reached(name, seed):
        momentum = {"low": 0.0, "high": 0.99}
        lab = Lab(None, seed=seed, momentum=momentum, search={"trials": 30, "sampler": name})
        lab.run(lab.seeker())
        return max(result["final/validation_top1"] for result in lab.results.values())

    tpe, random = ([reached(name, seed) for seed in range(10)] for name in ("tpe", "random"))
    assert median(tpe) > median(random)


@pytest.mark.parametrize("per", ["cell", "sweep"])
@pytest.mark.parametrize("name", ["tpe", "random"])
def test_repeated_points_are_answered_by_what_is_known(tmp_path, name, per):
    choices = [round(0.1 + 0.01 * step, 2) for step in range(12)]
    lab = Lab(tmp_path, lr={"choices": choices}, search={"trials": 12, "sampler": name, "per": per})
    seeker = lab.seeker()
    lab.run(seeker)
    assert seeker.over
    (running,) = seeker.studies
    done = running.optuna.get_trials(states=[TrialState.COMPLETE])
    assert len(lab.ran) < len(done) == 12  # some were asked for again, and cost no computation
    by_lr = {t.params["lr"]: t.values for t in done}
    assert all(t.values == by_lr[t.params["lr"]] for t in done)
    assert seeker.exhausted == ()


@pytest.mark.parametrize("seeds", [0, 2])
@pytest.mark.parametrize(("per", "points"), [("cell", 2), ("sweep", 4)])
def test_a_study_ends_when_every_setting_was_tried(tmp_path, per, points, seeds):
    search = {"trials": 200, "sampler": "random", "per": per, "confirm_seeds": seeds}
    lab = Lab(tmp_path, compression=[2, 4], lr={"choices": [0.1, 0.2]}, search=search)
    seeker = lab.seeker()
    assert [running.study.settings for running in seeker.studies] == [points] * (4 // points)
    lab.run(seeker)
    assert seeker.over
    assert (seeker.unasked, seeker.next(1)) == (0, None)
    assert len(lab.ran) == len(set(lab.ran)) == 4
    assert len(seeker.exhausted) == 4 // points
    assert all(len(running.asked) < 50 for running in seeker.studies)
    assert {trial.lr for _, trial in seeker.best()} == {0.1}
    assert len(seeker.best()) == 2 * max(1, seeds)
    assert lab.seeker().over  # a driver that begins now


def test_a_study_without_a_result_ends_as_well(tmp_path):
    lab = Lab(tmp_path, lr={"choices": [0.1, 0.2]}, search={"trials": 9, "confirm_seeds": 2})
    seeker = lab.seeker()
    for stopped_after in (1, None):  # stopped early, and failed
        while (trial := seeker.next(1)) is None:
            assert not seeker.over
        seeker.ended(trial.fingerprint, stopped_after)
    assert seeker.next(1) is None
    assert seeker.over
    assert seeker.best() == ()


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsga2", "random"])
def test_every_sampler_runs(tmp_path, name):
    lab = Lab(tmp_path, search={"trials": 3, "sampler": name}, momentum={"low": 0.0, "high": 0.9})
    lab.run(lab.seeker())
    assert len(lab.ran) == 3
    assert len(optuna.get_all_study_names(lab.storage)) == 1
