"""Hosts, cables and servers fail while a sweep runs: it ends with the numbers of an undisturbed one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import pytest
from harness import until
from lab import Host, end
from on_premise import EPOCHS, GRID, TRIALS, ClusterSweep, OnPremise, finished
from page import documented

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
Record = Callable[[str, object], None]
Numbers = dict[str, dict[str, float]]


def under_way(
    cluster: OnPremise, name: str, place: str = "/shared"
) -> tuple[ClusterSweep, subprocess.Popen[str], Host]:
    """Start a sweep; return it, its driver and a worker that computes, in the second epoch or later."""
    cluster.all_alive()
    sweep = cluster.sweep(name, *GRID, epochs=EPOCHS, place=place)
    driver = sweep.start()
    until(lambda: driver.poll() is not None or sweep.records.recorded() >= 2, "the second epoch", 600)
    return sweep, driver, cluster.busy()


def check(sweep: ClusterSweep, undisturbed: Numbers, record_property: Record) -> None:
    """Compare the results with those of an undisturbed sweep, and record what the fault cost."""
    assert sweep.results() == undisturbed
    again = sweep.records.recorded() - TRIALS * EPOCHS
    assert again == 0, "an epoch stands twice in a record"
    record_property("cost", "all trials finished, every epoch once, the same numbers")


@pytest.mark.parametrize("seconds", [20, 180])
def test_a_worker_is_cut_off(cluster: OnPremise, undisturbed: Numbers, record_property: Record, seconds: float) -> None:
    record_property("fault", f"a worker's cable is out for {seconds} s")
    sweep, driver, victim = under_way(cluster, f"cut-off-{seconds}")
    victim.wired(False)
    time.sleep(seconds)  # the fault itself; its trials reach the shared folder all the while
    victim.wired(True)
    finished(driver)
    check(sweep, undisturbed, record_property)


def test_a_worker_hangs(cluster: OnPremise, undisturbed: Numbers, record_property: Record) -> None:
    record_property("fault", "all processes of a worker are stopped for 20 s (SIGSTOP)")
    sweep, driver, victim = under_way(cluster, "frozen")
    victim.freeze(True)
    time.sleep(20)  # the fault itself
    victim.freeze(False)
    finished(driver)
    check(sweep, undisturbed, record_property)


def test_a_workers_cable_is_slow_and_loses_frames(
    cluster: OnPremise, undisturbed: Numbers, record_property: Record
) -> None:
    record_property("fault", "a worker's cable takes 200 ms each way and loses 2 %")
    sweep, driver, victim = under_way(cluster, "slow-cable")
    with victim.slowly_wired(0.2, 0.02):
        finished(driver)
    check(sweep, undisturbed, record_property)


def test_a_worker_loses_power_and_comes_back(cluster: OnPremise, undisturbed: Numbers, record_property: Record) -> None:
    record_property("fault", "a worker loses power and comes back")
    sweep, driver, victim = under_way(cluster, "dark")
    victim.cut_power()
    finished(driver)
    victim.boot()
    cluster.all_alive()  # Ray on the head starts it again over ssh
    check(sweep, undisturbed, record_property)


def test_the_servers_are_killed_and_cron_starts_them_again(
    cluster: OnPremise, undisturbed: Numbers, record_property: Record
) -> None:
    record_property("fault", "MLflow and PostgreSQL are killed (SIGKILL)")
    sweep, driver, _ = under_way(cluster, "no-server")
    cluster.head.as_root("pkill", "-KILL", "--full", "mlflow|postgres")
    assert not cluster.head.run("pgrep --full 'mlflow server'")[1]
    finished(driver)
    check(sweep, undisturbed, record_property)


def test_the_driver_is_killed_and_the_same_command_goes_on(
    cluster: OnPremise, undisturbed: Numbers, record_property: Record
) -> None:
    record_property("fault", "the driver is killed (SIGKILL); the same command")
    sweep, driver, _ = under_way(cluster, "no-driver")
    cluster.head.as_root("pkill", "-KILL", "--full", "orchestrator[.]sweep")
    driver.communicate(timeout=60)
    sweep.finish()
    check(sweep, undisturbed, record_property)


def test_the_head_loses_power_and_the_same_commands_go_on(
    cluster: OnPremise, undisturbed: Numbers, record_property: Record
) -> None:
    record_property("fault", "the head loses power; `ray up`, the same command")
    sweep, driver, _ = under_way(cluster, "headless")
    cluster.head.cut_power()
    end(driver)
    cluster.head.boot()
    cluster.up(documented("ray up --disable-usage-stats"))
    sweep.finish()
    check(sweep, undisturbed, record_property)
