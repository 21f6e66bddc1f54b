"""`ray job submit` through the tunnel; `ray job stop` leaves good order, and the next job goes on."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from harness import until
from on_premise import EPOCHS, GRID, TRIALS, OnPremise, finished, runs
from page import documented

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_a_stopped_job_leaves_good_order_and_the_next_one_goes_on(
    cluster: OnPremise, undisturbed: dict[str, dict[str, float]], record_property: Callable[[str, object], None]
) -> None:
    record_property("fault", "`ray job stop`, the same job once more")
    sweep = cluster.sweep("job", *GRID, epochs=EPOCHS)
    line = documented("ray job submit", "--address").replace("/shared/results", "/shared/job/out")
    line = line.replace("digits-pruners", f"{' '.join(GRID)} --experiment job")
    with cluster.tunnel():
        job = cluster.laptop.start(f"cd checkout && {line}")
        until(lambda: job.poll() is not None or sweep.records.recorded() >= 2, "the second epoch", 900)
        assert job.poll() is None, job.communicate()[0]
        assert job.stdout is not None
        name = next(found[0] for text in job.stdout if (found := re.search(r"raysubmit_\w+", text)))
        assert "stopped" in cluster.documented("ray job stop", "JOB", swap=("JOB", name))
        job.communicate(timeout=300)
        assert not cluster.sweeping()
        assert set(runs(cluster.head, "job")) <= {("sweep", "KILLED"), ("trial", "KILLED"), ("trial", "FINISHED")}
        assert 0 < sweep.records.recorded() < TRIALS * EPOCHS
        finished(cluster.laptop.start(f"cd checkout && {line}"))
    assert sweep.results() == undisturbed
    assert sweep.records.recorded() == TRIALS * EPOCHS
    record_property("cost", "no run RUNNING; then all finished, every epoch once, the same numbers")
