"""What a sweep will cost: arithmetic, and what people see of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.planning.estimate import EACH, Estimate, show
from orchestrator.planning.resources import Resources
from search_spaces import Trial

TRIALS = tuple(Trial(dataset="digits", architecture="mlp", seed=seed) for seed in range(8))
NODE = {"CPU": 4.0, "GPU": 1.0}


def cost(resources=Resources(1), nodes=(NODE,), stages=0, measured=8, alone=False, hours=1.0):  # noqa: B008
    seconds = {trial.fingerprint: 3600 * hours for trial in TRIALS}
    return Estimate(TRIALS[:stages], TRIALS[stages:], seconds, measured, {"NVIDIA H200"}, nodes, resources, alone)


def text(found, in_full=True, here=True):
    out = io.StringIO()
    show(found, Console(file=out, width=120), in_full, here)
    return out.getvalue()


@pytest.mark.parametrize(
    ("resources", "nodes", "at_once"),
    [
        (Resources(1), [NODE], 4),
        (Resources(2), [NODE, NODE], 4),
        (Resources(1, 0.5), [NODE, NODE], 4),
        (Resources(1, 0.5), [{"node:10.0.0.1": 1.0}, NODE], 2),  # a head that runs nothing
        (Resources(1, max_concurrent=3), [NODE, NODE], 3),
    ],
)
def test_how_many_at_once(resources, nodes, at_once):
    assert cost(resources, nodes).at_once(nodes) == at_once


def test_stages_come_first():
    each = 3600 + EACH
    assert cost().wall([NODE]) == 2 * each
    assert cost(stages=1).wall([NODE]) == (1 + 2) * each


def test_hours_of_cpu_and_of_gpu():
    assert "8 CPU-hours; 2.0 h on this machine with 4 at once" in text(cost())
    assert "2 GPU-hours; 2.0 h on this machine with 4 at once" in text(cost(Resources(1, 0.25)))
    assert text(cost(hours=1e-5)).startswith("about 1 s of training, under 0.01 CPU-hours; ")
    assert "on 2 nodes of the cluster with 8 at once" in text(cost(nodes=(NODE, NODE)), here=False)
    assert "on 1 node of the cluster with 4 at once" in text(cost(), here=False)


def test_on_more_nodes_until_they_no_longer_help():
    rows = [line.split() for line in text(cost(Resources(1, 0.5))).splitlines()[3:]]
    assert rows == [["1", "2", "4.0", "h"], ["2", "4", "2.0", "h"], ["4", "8", "60", "min"]]
    assert "nodes of 4 CPUs, 1 GPU" in text(cost(Resources(1, 0.5)))


def test_what_was_tried_out_on_a_cpu_says_nothing_about_gpus():
    assert "the first trials show by how much" in text(cost(Resources(1, 0.5), measured=0))
    assert "GPU-hours" not in text(cost(Resources(1, 0.5), measured=0))


@pytest.mark.parametrize(
    ("measured", "source"),
    [
        (8, "  from the speed of earlier trials on NVIDIA H200\n"),
        (0, "  from one training step of each kind, on one CPU thread\n"),
        (3, "earlier trials on NVIDIA H200, and one training step of each kind, on one CPU thread\n"),
    ],
)
def test_it_says_what_it_knows_that_from(measured, source):
    assert source in text(cost(measured=measured))


def test_a_cluster_nobody_asked_yet():
    assert text(cost(nodes=()), in_full=False).strip() == "about 8.0 h of training"


def test_workers_of_one_trial_each_cost_a_gpu():
    said = text(cost(Resources(1, 1, workers=2), nodes=[{"CPU": 4, "GPU": 2}]))
    assert "16 GPU-hours; 8.0 h on this machine with 1 at once" in said
