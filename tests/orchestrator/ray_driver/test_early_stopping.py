"""Early stopping: who is compared with whom, and that nobody else matters."""

from __future__ import annotations

from itertools import pairwise

import pytest
from invented_sweep import EPOCHS

from orchestrator.live.early_stopping_groups import EarlyStoppingGroups
from orchestrator.planning.catalog import catalog
from orchestrator.ray_driver.early_stopping import GroupedEarlyStopping
from orchestrator.tracking.experiment import existing
from search_spaces import EarlyStopping, Trial, expand, load
from search_spaces.search import read_early_stopping
from trainables.record.event_log import EventLog

SPACE = {
    "dataset": "digits",
    "architecture": "mlp",
    "pruner": ["random", "snip", "synflow"],
    "compression": [2, 100],
    "validation": 0.2,
    "epochs": 27,
}


def trials(**more):
    return expand(load(SPACE | more), catalog())[1]


def rivals(folder, known=(), seeds=(), **rule):
    return EarlyStoppingGroups(EarlyStopping(**{"name": "asha"} | rule), folder, tuple(known), seeds)


def survivors(fairness, trials, value):
    """Trials one after the other, each to its last epoch but one or until it is stopped early."""
    left = []
    for trial in trials:
        fairness.enter(trial)
        judged = (fairness.falls_behind(trial.fingerprint, e, value(trial, e)) for e in range(1, trial.epochs))
        if not any(judged):
            left.append(trial)
    return left


def accuracy(trial, epoch):
    """Learns, and the more the fewer weights are gone; synflow best."""
    best = {"random": 0.1, "snip": 0.2, "synflow": 0.3}[trial.pruner]
    return best + epoch / 100 + 0.5 / trial.compression


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_each_compression_keeps_a_survivor(tmp_path, name):
    fairness = GroupedEarlyStopping(rivals(tmp_path, name=name))
    asked = trials(seed=[0, 1, 2])
    left = survivors(fairness, asked, accuracy)
    assert {trial.compression for trial in left} == {2, 100}


def test_what_others_reach_is_no_reason_to_stop(tmp_path):
    asked = trials(pruner=["synflow", "snip"])
    apart = survivors(GroupedEarlyStopping(rivals(tmp_path)), asked, accuracy)
    together = survivors(GroupedEarlyStopping(rivals(tmp_path, group=())), asked, accuracy)
    assert [(trial.pruner, trial.compression) for trial in apart] == [("synflow", 2), ("synflow", 100)]
    assert [(trial.pruner, trial.compression) for trial in together] == [("synflow", 2)]


def test_the_smaller_loss_is_the_better_one(tmp_path):
    fairness = GroupedEarlyStopping(rivals(tmp_path, metric="validation/loss"))
    left = survivors(fairness, trials(compression=2), lambda trial, epoch: -accuracy(trial, epoch))
    assert [trial.pruner for trial in left] == ["random", "snip", "synflow"]  # each better than all before it
    worse = trials(compression=2, seed=1)[0]
    fairness.enter(worse)
    assert fairness.falls_behind(worse.fingerprint, 1, 9.0)


def test_nobody_is_stopped_in_its_grace(tmp_path):
    fairness = GroupedEarlyStopping(rivals(tmp_path, grace_epochs=9))
    good, bad, *_ = trials(pruner=["synflow", "random"], compression=2)
    for trial, value in ((good, 0.9), (bad, 0.1)):
        fairness.enter(trial)
        assert [fairness.falls_behind(trial.fingerprint, epoch, value) for epoch in range(1, 9)] == [False] * 8
    assert not fairness.falls_behind(good.fingerprint, 9, 0.9)
    assert fairness.falls_behind(bad.fingerprint, 9, 0.1)


def test_a_grace_longer_than_the_training_is_no_error(tmp_path):
    assert len(survivors(GroupedEarlyStopping(rivals(tmp_path, grace_epochs=50)), trials(), accuracy)) == 6


def test_hyperband_begins_to_stop_at_later_epochs_for_some(tmp_path):
    fairness = GroupedEarlyStopping(rivals(tmp_path, name="hyperband"))
    asked = trials(compression=2, seed=list(range(40)))
    stopped_early = set()
    for trial in asked:
        fairness.enter(trial)
        falls = (e for e in range(1, 27) if fairness.falls_behind(trial.fingerprint, e, 0.9 - trial.seed / 100))
        stopped_early.add(next(falls, None))
    assert {1, 3, 9, None} <= stopped_early


def test_an_epoch_computed_twice_is_judged_once(tmp_path):
    fairness = GroupedEarlyStopping(rivals(tmp_path))
    first, second = trials(pruner=["synflow", "snip"], compression=2)
    fairness.enter(first)
    fairness.enter(second)
    assert not fairness.falls_behind(first.fingerprint, 1, 0.5)
    assert fairness.falls_behind(second.fingerprint, 1, 0.1)
    fairness.enter(first)  # its process died: it goes on from a checkpoint before that
    assert not fairness.falls_behind(first.fingerprint, 1, 0.0)


def test_what_earlier_sweeps_recorded_is_known(tmp_path):
    good, bad = trials(pruner=["synflow", "random"], compression=2)
    (tmp_path / good.fingerprint).mkdir()
    outbox = EventLog(tmp_path / good.fingerprint)
    for epoch in range(1, 28):
        outbox.metrics({"validation/top1": accuracy(good, epoch)}, epoch)
    outbox.close()
    fairness = GroupedEarlyStopping(rivals(tmp_path, known=[good, bad]))
    fairness.enter(bad)
    assert fairness.falls_behind(bad.fingerprint, 1, accuracy(bad, 1))


def test_a_curve_whose_record_is_elsewhere_counts_and_ones_own_record_counts_more(tmp_path):
    good, bad = trials(pruner=["synflow", "random"], compression=2)
    elsewhere = {good.fingerprint: {epoch: accuracy(good, epoch) for epoch in range(1, 28)}}
    apart = EarlyStoppingGroups(EarlyStopping(name="asha"), tmp_path, (good, bad), elsewhere=elsewhere)
    fairness = GroupedEarlyStopping(apart)
    fairness.enter(bad)
    assert fairness.falls_behind(bad.fingerprint, 1, accuracy(bad, 1))
    (tmp_path / good.fingerprint).mkdir()
    outbox = EventLog(tmp_path / good.fingerprint)
    outbox.metrics({"validation/top1": 0.25}, 1)
    outbox.close()
    assert apart.curve(good.fingerprint) == {1: 0.25}


def test_mlflow_has_the_curves_of_trials_whose_records_are_elsewhere(store):
    ledger = existing(store.uri, "small")
    (there, top1), *_ = ((key, metrics["final/top1"]) for key, metrics in store.logged.items())
    curves = ledger.curves({there, store.missing.fingerprint}, "test/top1")
    assert curves == {there: {epoch: pytest.approx(top1 * (1 - 0.5**epoch)) for epoch in range(1, EPOCHS + 1)}}
    assert ledger.curves({there}, "validation/top1") == {}


def test_trials_at_another_point_of_another_training_are_not_compared(tmp_path):
    recipe = {"dataset": "digits", "architecture": "mlp", "compression": 50, "epochs": 9}
    others = [
        Trial(**recipe, pruner="snip"),
        Trial(**recipe, pruner="gradual", schedule="cubic", iterations=10),  # dense at first
        Trial(**recipe, pruner="lamp", pretrain_epochs=5),
        Trial(**recipe, pruner="imp", levels=3),
        Trial(**recipe | {"epochs": 18}, pruner="snip"),
        Trial(**recipe | {"compression": 1.0}, pruner="random", kappa=0.5, granularity="filter"),
        Trial(**recipe | {"compression": 1.0}, pruner="random", kappa=0.7, granularity="filter"),
        Trial(**recipe, pruner="snip", architecture_options={"width": 50}),
    ]
    groups = [rivals(tmp_path).group(trial) for trial in others]
    assert len(set(groups)) == len(others)
    assert rivals(tmp_path).group(Trial(**recipe, pruner="rigl")) == groups[0]


def test_trials_that_confirm_what_a_search_found_run_to_their_end(tmp_path):
    fairness = GroupedEarlyStopping(rivals(tmp_path, seeds=(0,)))
    found, confirming = trials(compression=2, pruner="snip", seed=[0, 1])
    assert survivors(fairness, [found, confirming], lambda trial, epoch: 0.9 - 0.8 * trial.seed) == [found, confirming]


def test_the_rule_is_known_by_its_words():
    asha = read_early_stopping("asha")
    tag = f"epoch 12 by {asha.rule}"
    assert asha.stopped(tag)
    others = [{"name": "median"}, {"grace_epochs": 2}, {"reduction": 4}, {"group": []}, {"metric": "validation/loss"}]
    rules = [read_early_stopping({"name": "asha"} | other) for other in others]
    assert not any(rule.stopped(tag) for rule in rules)
    assert not asha.stopped("")
    words = [rule.rule for rule in (asha, *rules)]
    assert all(a != b for a, b in pairwise(words))
