"""Nodes of a cluster that are not in it: waited for while no other can run a trial, and named with what to do."""

from __future__ import annotations

import pytest

from orchestrator.planning.resources import Resources
from orchestrator.ray_driver import absent_nodes
from orchestrator.ray_driver.absent_nodes import absent, await_nodes

HEAD = {"CPU": 0.0}
WORKER = {"CPU": 2.0}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Pretend nodes by address; each look takes the next list, and the last one stays."""
    monkeypatch.setattr("orchestrator.ray_driver.nodes.LAUNCHER", tmp_path / "ray_bootstrap_config.yaml")
    monkeypatch.setattr(absent_nodes, "LOOK_SECONDS", 0)
    for name in ("SLURM_JOB_ID", "SLURM_JOB_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)
    states = [{}]

    def show(*found):
        states[:] = found

    def nodes():
        now = states.pop(0) if len(states) > 1 else states[0]
        return [
            {"Alive": True, "NodeID": ip, "NodeManagerAddress": ip, "NodeManagerHostname": ip, "Resources": resources}
            for ip, resources in now.items()
        ]

    monkeypatch.setattr("ray.nodes", nodes)
    return show


@pytest.fixture
def own_machines(tmp_path):
    """What `ray up` leaves on the head of a cluster of one's own machines."""
    text = "provider: {type: local, head_ip: 10.0.0.1, worker_ips: [10.0.0.2, 10.0.0.3]}\n"
    (tmp_path / "ray_bootstrap_config.yaml").write_text(text)


@pytest.mark.usefixtures("own_machines")
def test_workers_that_still_install_are_waited_for_and_who_stays_out_is_named(cluster):
    cluster({"10.0.0.1": HEAD}, {"10.0.0.1": HEAD}, {"10.0.0.1": HEAD}, {"10.0.0.1": HEAD, "10.0.0.2": WORKER})
    told = []
    await_nodes(Resources(1), told.append)
    waiting, out = told
    assert waiting == ("no node can run a trial yet; waiting up to 20 min for 10.0.0.2, 10.0.0.3 to install and join")
    assert out.startswith("not in the cluster: 10.0.0.3; if one stays out, set it up again")
    assert out.endswith("RAY_UP_enable_autoscaler_v2=0 ray up --disable-usage-stats my-cluster.yaml")


@pytest.mark.usefixtures("own_machines")
def test_nobody_waits_for_ever(cluster, monkeypatch):
    monkeypatch.setattr(absent_nodes, "JOIN_SECONDS", 0)
    cluster({"10.0.0.1": HEAD})
    told = []
    await_nodes(Resources(1), told.append)
    assert [line.partition(":")[0] for line in told] == ["not in the cluster"]


@pytest.mark.usefixtures("own_machines")
def test_with_all_nodes_there_is_nothing_to_say(cluster):
    cluster({"10.0.0.1": HEAD, "10.0.0.2": WORKER, "10.0.0.3": WORKER})
    await_nodes(Resources(1), pytest.fail)


def test_other_clusters_list_no_machines(cluster, tmp_path):
    cluster({"10.0.0.1": HEAD})
    assert absent() == ([], "")
    (tmp_path / "ray_bootstrap_config.yaml").write_text("provider: {type: aws}\n")
    assert absent() == ([], "")


def test_a_slurm_job_knows_how_many_nodes_it_has(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "3")
    cluster({"10.0.0.1": WORKER})
    assert absent() == (["2 of the 3 nodes of the Slurm job"], "sweep-17-ray.log says why")
    cluster({"10.0.0.1": WORKER, "10.0.0.2": WORKER, "10.0.0.3": WORKER})
    assert absent()[0] == []
