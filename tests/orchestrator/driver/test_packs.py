"""Trials of one process: who joins, who comes after one that has ended, and who is tried by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from listener import Listener
from orders import Orders

from orchestrator.costs.resources import Resources
from orchestrator.driver.attempts import Attempts
from orchestrator.driver.handing import Handing
from orchestrator.driver.packs import Packs
from orchestrator.driver.telling import TellWatch
from orchestrator.live.sources import Listed
from orchestrator.live.stopping import Stop
from search_spaces import Trial


@pytest.fixture
def packs(monkeypatch):
    """Processes for three trials, with what `Tune` calls them by."""
    monkeypatch.setattr("orchestrator.driver.packs.alive", lambda: {"node": {"CPU": 4, "GPU": 1}})
    monkeypatch.setattr("orchestrator.driver.attempts.answers", lambda node: node != "gone")
    monkeypatch.setattr("orchestrator.driver.telling._where", lambda process: process.node)
    trials = [Trial(dataset="digits", architecture="mlp", seed=seed) for seed in range(6)]
    watch, stop, orders = Listener(), Stop(), Orders()
    handing = Handing(Listed(trials), stop)
    handing.begin()
    attempts, resources = Attempts(0.3, {trials[4].fingerprint: 0.5}), Resources(1, 0.3, pack=3)
    packs = Packs(handing, attempts, resources)
    tell = TellWatch(watch, handing, stop, orders, attempts, resources, packs)
    processes = []

    def start(node="n", comes_up=True):
        first, *others = packs.new()
        known = SimpleNamespace(metric_analysis={}, metric_n_steps={})
        process = SimpleNamespace(
            trial_id=f"p{len(processes)}", config={"point": first, "beside": others}, node=node, run_metadata=known,
            max_failures=-1, error_file=None,
        )  # fmt: skip
        processes.append(process)
        if not comes_up:
            return process, []
        tell.on_trial_start(1, [], process)
        return process, [trials.index(trial) for trial in trials if trial.fingerprint in tell._aboard[process.trial_id]]

    def over(process, number, how="finished"):
        result = {"fingerprint": trials[number].fingerprint, "end": how, "error": "it", "epoch": 0}
        tell.on_trial_result(1, [], process, result)
        return [point["fingerprint"] for point in orders.handed.get(trials[number].fingerprint, ())]

    return SimpleNamespace(trials=trials, tell=tell, watch=watch, start=start, over=over, handing=handing)


def test_a_process_is_filled_again_as_its_trials_end(packs):
    process, aboard = packs.start()
    assert aboard == [0, 1, 2]
    assert process.max_failures == 0
    assert packs.over(process, 1) == [packs.trials[3].fingerprint]
    assert packs.over(process, 0, "failed") == []  # the next needs half of a GPU, and 0.3 are free
    assert packs.over(process, 2) == [packs.trials[number].fingerprint for number in (4,)]
    assert packs.watch.errors == {packs.trials[n].fingerprint: "it" if n == 0 else None for n in range(3)}
    _, aboard = packs.start()
    assert aboard == [5]


def test_those_of_a_process_that_died_are_tried_each_by_itself(packs):
    process, _ = packs.start()
    packs.over(process, 0)
    packs.tell.on_trial_error(1, [], process)  # with 1, 2 and 3 in it
    assert [packs.start()[1] for _ in range(3)] == [[1], [2], [3]]
    assert set(packs.watch.errors) == {packs.trials[0].fingerprint}


def test_those_of_a_process_that_never_came_up_are_tried_each_by_itself(packs):
    process, _ = packs.start(comes_up=False)
    packs.tell.on_trial_error(1, [], process)
    assert [packs.start()[1] for _ in range(3)] == [[0], [1], [2]]


def test_a_lost_node_is_no_reason_to_try_them_alone(packs):
    process, aboard = packs.start("gone")
    packs.tell.on_trial_error(1, [], process)
    assert packs.start()[1] == aboard


def test_one_that_ran_out_of_memory_beside_others_gets_a_gpu_for_itself(packs):
    process, _ = packs.start()
    assert packs.over(process, 0, "memory") == [packs.trials[3].fingerprint]
    for number in (1, 2, 3, 4, 5):
        packs.over(process, number)
    again, aboard = packs.start()
    assert aboard == [0]
    assert again.config["point"]["gpus"] == 1
    assert "out of memory with 0.3 of a GPU; it is tried again with 1" in packs.watch.notices[0]
