"""Trials that run out of memory, and processes that die: tried again, not for ever."""

from __future__ import annotations

import pytest
from raylets import long, tags

from orchestrator.planning.resources import Resources
from orchestrator.ray_driver import trial_callback
from trainables.record.event_log import ended

pytestmark = pytest.mark.cluster
SHORT = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}  # of memory, says such a node


def test_too_little_memory_is_given_twice_as_much_once(cluster, sweep, own, tmp_path):
    cluster.add_node(num_cpus=2, num_gpus=1)
    hungry, insatiable, plain = own("hungry"), own("insatiable"), long(0, epochs=1)
    undisturbed, told = sweep([hungry, insatiable, plain], Resources(1, 0.5))
    assert undisturbed
    assert told.over == {hungry.fingerprint, insatiable.fingerprint, plain.fingerprint}
    assert (told.errors[hungry.fingerprint], told.errors[plain.fingerprint]) == (None, None)
    assert "80.00 GiB" in told.errors[insatiable.fingerprint]
    folder = tmp_path / "checkpoints" / hungry.fingerprint
    assert ended(folder) == "finished"
    assert tags(folder)["out_of_memory"] == "with 0.5 of a GPU; tried again with more"
    assert f"{hungry.fingerprint}: out of memory with 0.5 of a GPU; it is tried again with 1" in told.notices


def test_a_process_that_dies_every_time_is_not_started_for_ever(cluster, sweep, own, tmp_path):
    cluster.add_node(num_cpus=2)
    deadly, plain = own("deadly"), long(0, epochs=1)
    undisturbed, told = sweep([deadly, plain])
    assert undisturbed
    assert told.errors == {deadly.fingerprint: trial_callback.DIED, plain.fingerprint: None}
    assert len((tmp_path / "log").read_text()) == trial_callback.ATTEMPTS


def test_a_trial_that_ray_kills_for_want_of_memory_says_so(cluster, sweep):
    cluster.add_node(num_cpus=1, env_vars=SHORT)
    trial = long(0, epochs=5000)
    undisturbed, told = sweep([trial])
    assert undisturbed
    assert told.errors == {trial.fingerprint: f"{trial_callback.LOW_MEMORY}, 4 times"}
    assert told.notices == [f"{trial.fingerprint}: {trial_callback.LOW_MEMORY}; it is tried again"] * 3
