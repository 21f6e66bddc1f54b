"""A cable is pulled, a worker and the head lose power: the sweep ends with the numbers of an undisturbed one."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from harness import until
from lab import end
from on_premise import EPOCHS, GRID, TRIALS, ClusterSweep, OnPremise, finished

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
Record = Callable[[str, object], None]
Numbers = dict[str, dict[str, float]]


def check(sweep: ClusterSweep, undisturbed: Numbers, record_property: Record) -> None:
    """Compare the results with those of an undisturbed sweep, and record that nothing was lost."""
    assert sweep.results() == undisturbed
    assert sweep.records.recorded() == TRIALS * EPOCHS
    record_property("cost", "all trials finished, every epoch once, the same numbers")


def test_a_worker_is_cut_off_for_20_seconds(cluster: OnPremise, undisturbed: Numbers, record_property: Record) -> None:
    record_property("fault", "a worker's cable is out for 20 s")
    cluster.all_alive()
    sweep = cluster.sweep("cut-off", *GRID, epochs=EPOCHS)
    driver = sweep.start()
    until(lambda: driver.poll() is not None or sweep.records.recorded() >= 2, "the second epoch", 600)
    victim = cluster.busy()
    victim.wired(False)
    time.sleep(20)  # the fault itself; its trials reach the shared folder all the while
    victim.wired(True)
    finished(driver)
    check(sweep, undisturbed, record_property)


def test_a_worker_loses_power_and_comes_back(cluster: OnPremise, undisturbed: Numbers, record_property: Record) -> None:
    record_property("fault", "a worker loses power and comes back")
    cluster.all_alive()
    sweep = cluster.sweep("dark", *GRID, epochs=EPOCHS)
    driver = sweep.start()
    until(lambda: driver.poll() is not None or sweep.records.recorded() >= 2, "the second epoch", 600)
    victim = cluster.busy()
    victim.cut_power()
    finished(driver)
    victim.boot()
    cluster.all_alive()  # Ray on the head starts it again over ssh
    check(sweep, undisturbed, record_property)


def test_the_head_loses_power_and_the_same_commands_go_on(
    cluster: OnPremise, undisturbed: Numbers, record_property: Record
) -> None:
    record_property("fault", "the head loses power; `ray up`, the same command")
    cluster.all_alive()
    sweep = cluster.sweep("headless", *GRID, epochs=EPOCHS)
    driver = sweep.start()
    until(lambda: driver.poll() is not None or sweep.records.recorded() >= 2, "the second epoch", 600)
    cluster.head.cut_power()
    end(driver)
    cluster.head.boot()
    cluster.up()
    sweep.finish()
    check(sweep, undisturbed, record_property)
