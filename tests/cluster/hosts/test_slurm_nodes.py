"""deploy/slurm.sbatch on two nodes: a raylet on each, and a sweep over both that outlives limits and a lost node."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import until
from lab import Lab
from slurm import installed
from slurm_hosts import SlurmHosts

from trainables.record.event_log import read

pytestmark = [pytest.mark.cluster, pytest.mark.slow, installed]
SECONDS = 600  # for what takes one on an idle machine
GOES_ON = "The same command continues where this one stopped."
SPACE = ["digits", "--set", "architecture=conv", "--set", "pruner=random", "--set", "compression=4"]
SPACE += ["--set", "seed=[0, 1]", "--set", "epochs=1000000", "--checkpoint-every", "1s"]


@pytest.fixture(scope="module")
def slurm(lab: Lab) -> SlurmHosts:
    return SlurmHosts(lab)


def epochs(slurm: SlurmHosts, name: str) -> dict[str, list[int]]:
    """Return the epochs that each trial has recorded, in order."""
    found = {}
    for record in slurm.records(name).records.glob("*/outbox.jsonl"):
        events = [event for event, _ in read(record.parent)]
        found[record.parent.name] = [event["step"] for event in events if "train/loss" in event.get("metrics", {})]
    return found


def test_a_sweep_over_two_nodes_outlives_three_time_limits_and_a_lost_node_and_cancelled_it_stays_so(
    slurm: SlurmHosts, record_property: Callable[[str, object], None]
) -> None:
    """The limit is lowered when the trials have trained, however long that takes; Slurm then signals as ever."""
    record_property("fault", "Slurm, two nodes: three time limits, a node loses power, scancel")
    job = slurm.submit("--time=10:00:00 --signal=B:TERM@10", "two-nodes", *SPACE)
    seen: dict[str, list[int]] = {}

    def train() -> None:
        def trained() -> bool:
            now = epochs(slurm, "two-nodes")
            return len(now) == 2 and all(len(now[trial]) > len(seen.get(trial, [])) for trial in now)

        until(trained, "both trials train", SECONDS, pause=0.5)
        assert slurm.raylets() == slurm.trials() == [1, 1]

    def queued_again(end: Callable[[], object]) -> None:
        nonlocal seen
        before = slurm.show(job, "Restarts")
        end()
        until(lambda: slurm.show(job, "Restarts") != before, "the job is queued again", SECONDS, pause=0.5)
        seen = epochs(slurm, "two-nodes")

    for _ in range(3):
        train()
        queued_again(lambda: slurm.login.as_root("scontrol", "update", f"JobId={job}", "TimeLimit=1"))
        slurm.login.as_root("scontrol", "update", f"JobId={job}", "TimeLimit=600")
        assert not slurm.ray_files(job)
        for steps in seen.values():
            assert steps == list(range(1, len(steps) + 1)), "an epoch was computed twice, or lost"
    assert slurm.log("two-nodes").count(GOES_ON) == 3
    train()
    lost = slurm.nodes[1]
    queued_again(lost.cut_power)
    lost.boot()
    slurm.start(lost, "slurmd")
    train()
    for steps in epochs(slurm, "two-nodes").values():
        assert set(steps) == set(range(1, max(steps) + 1)), "an epoch was lost"
    slurm.login.do(f"scancel {job}")
    until(lambda: slurm.show(job, "JobState") == "CANCELLED", "it is cancelled", SECONDS)
    until(lambda: not slurm.ray_files(job) and slurm.raylets() == [0, 0], "Ray is gone from both", SECONDS, pause=0.5)
    record_property("cost", "no epoch lost; every epoch once over the time limits; cancelled it stays so")
