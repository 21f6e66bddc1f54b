"""Everything that can be wrong with a cluster is said in one line, before any trial, and nothing is left behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import ray
from listener import Listener
from ray.cluster_utils import Cluster

from orchestrator.live.interrupt import Stop
from orchestrator.live.trial_sources import TrialList
from orchestrator.planning.resources import Resources
from orchestrator.ray_driver import ray_connection, run_on_ray
from orchestrator.ray_driver.nodes import to_come
from orchestrator.sweep import main
from search_spaces import SpaceError, Trial
from tests.trainables.s3 import s3
from trainables.context import Place
from trainables.record.event_log import FILE, ended
from trainables.record.object_store import Bucket, newest
from trainables.versions import versions

SERVER = "http://127.0.0.1:5000"  # not asked: that comes before


def test_ray_client_is_refused_with_the_way_that_works(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["digits", "--address", "ray://127.0.0.1:10001"]) == 2
    _, err = capfd.readouterr()
    assert "run the command on the head with --address auto, by hand or with `ray job submit`" in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_nodes_that_the_launcher_may_start(tmp_path, monkeypatch):
    file = tmp_path / "ray_bootstrap_config.yaml"
    monkeypatch.setattr("orchestrator.ray_driver.nodes.LAUNCHER", file)
    monkeypatch.setattr("ray._private.state.state.get_cluster_config", lambda: None)
    assert to_come() == []
    file.write_text(
        "available_node_types: {gpu: {resources: {CPU: 8, GPU: 1}, max_workers: 4}, none: {resources: {GPU: 8}, "
        "max_workers: 0}, bare: {max_workers: 1}}"
    )
    assert to_come() == [{"CPU": 8, "GPU": 1}, {}]


def test_nodes_that_kuberay_may_start(tmp_path, monkeypatch):
    from ray.core.generated import autoscaler_pb2

    config = autoscaler_pb2.ClusterConfig()
    for name, gpus, most in (("gpu", 4, -1), ("none", 8, 0)):
        config.node_group_configs.add(name=name, resources={"CPU": 8, "GPU": gpus}, max_count=most)
    monkeypatch.setattr("orchestrator.ray_driver.nodes.LAUNCHER", tmp_path / "none")
    monkeypatch.setattr("ray._private.state.state.get_cluster_config", lambda: config)
    assert to_come() == [{"CPU": 8, "GPU": 4}]


@pytest.mark.parametrize(
    ("here", "to_come", "asked", "gets"),
    [
        ([{"CPU": 4}], [], [], "1 CPU and no GPU"),
        ([{"CPU": 4}, {"CPU": 8, "GPU": 2}], [], [], "1 CPU and 0.25 of a GPU"),
        ([{"CPU": 0}], [{"CPU": 8, "GPU": 1}], [], "1 CPU and 0.25 of a GPU"),
        (
            [{"CPU": 4, "GPU": 2}],
            [],
            ["--gpus-per-trial", "2", "--cpus-per-trial", "2"],
            "2 workers, each with 2 CPUs and 1 GPU",
        ),
        ([{"CPU": 4, "GPU": 1}], [], ["--gpus-per-trial", "0"], "1 CPU and no GPU"),
    ],
)
def test_what_a_trial_gets_of_a_cluster(here, to_come, asked, gets, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.running.resource_flags.prepare_ray", lambda address: None)
    monkeypatch.setattr("orchestrator.ray_driver.cluster_resources", lambda *asked: (here, to_come))
    monkeypatch.setattr("orchestrator.ray_driver.ray_connection", lambda *where: nullcontext({"10.0.0.1": False}))
    assert main(["digits", "--address", "auto", "--dry-run", *asked]) == 0
    said = capsys.readouterr().out
    assert f"each trial gets {gets}\n" in said
    assert ("take turns on it: NVIDIA MPS does not run (docs/gpus.md)\n" in said) == ("of a GPU" in gets)


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    ray.shutdown()
    made.shutdown()


def refused(cluster, output, tracking=SERVER, resources=Resources(1), data_root=None, storage=""):  # noqa: B008
    with (
        pytest.raises(SpaceError) as caught,
        ray_connection(cluster.address, resources, output, tracking, data_root, storage),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert not output.exists()
    assert not list(output.parent.glob(".seen*"))
    return str(caught.value)


@pytest.mark.slow
def test_a_cluster_of_one_node_is_as_good_as_this_machine(cluster, tmp_path, capsys):
    output = tmp_path / "results"
    assert main(["digits", "--address", cluster.address, "--output", str(output), "--dry-run"]) == 0
    assert "each trial gets 1 CPU and no GPU" in capsys.readouterr().out
    assert not output.exists()
    said = refused(cluster, tmp_path / "results", resources=Resources(1, 0.5))
    assert said == "--gpus-per-trial: 0.5 asked for, but no node has a GPU"


@pytest.mark.slow
def test_what_several_nodes_need(cluster, tmp_path):
    output = tmp_path / "results"
    assert "SQLite is for one machine" in refused_with_two(cluster, output)
    with ray_connection(cluster.address, Resources(1), output, SERVER, tmp_path):
        pass
    assert not list(tmp_path.iterdir())
    assert "does not see" in refused(cluster, output, data_root=tmp_path / "nowhere")


@pytest.mark.slow
def test_a_submitted_job_joins_with_its_own_environment(cluster, tmp_path, monkeypatch):
    """`ray job submit` starts its command with this variable set."""
    job = {"runtime_env": {"env_vars": {"OF_THE_JOB": "1"}}, "metadata": {"job_submission_id": "raysubmit_1"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    monkeypatch.chdir(tmp_path)  # workers have our packages from the driver, and not from where they stand

    @ray.remote
    def seen_there():
        import importlib
        import os

        names = ("orchestrator", "pruners", "search_spaces", "trainables")
        shipped = [name for name in names if "py_modules_files" in str(importlib.import_module(name).__file__)]
        return os.environ.get("OF_THE_JOB"), shipped

    with ray_connection(cluster.address, Resources(1), tmp_path / "results", SERVER):
        seen = ray.get(seen_there.remote())
    assert seen == ("1", ["orchestrator", "pruners", "search_spaces", "trainables"])


def refused_with_two(cluster, output):
    cluster.add_node(num_cpus=1)
    return refused(cluster, output, tracking="sqlite:///here.db")


@pytest.mark.slow
def test_nodes_with_gpus_say_whether_mps_runs_there(cluster, tmp_path):
    cluster.add_node(num_cpus=1, num_gpus=1, env_vars={"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)})
    found = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        daemon.bind(str(tmp_path / "control"))
        daemon.listen()
        with ray_connection(cluster.address, Resources(1, 0.5), tmp_path / "results", SERVER) as mps:
            found += mps.values()
    with ray_connection(cluster.address, Resources(1, 0.5), tmp_path / "results", SERVER) as mps:
        found += mps.values()
    assert found == [True, False]  # and nothing of the head, which has no GPU


@pytest.mark.slow
def test_another_version_on_a_node(cluster, tmp_path):
    fake = tmp_path / "site" / "torch-1.0.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 1.0.0\n")
    path = os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")])
    cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": path})
    said = refused(cluster, tmp_path / "results")
    assert said.startswith("--address: node ")
    assert said.endswith(f"has torch 1.0.0, but here it is torch {versions()['torch']}")


@pytest.fixture
def bucket():
    with s3() as uri:
        yield uri


@pytest.fixture
def stranger(cluster, tmp_path):
    """A node that has the path of this test's folder for itself."""
    node = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--num-cpus=2"]
    hidden = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {tmp_path} && exec "$@"', "sh", *node, "--block"]
    process = subprocess.Popen(hidden, cwd="/", start_new_session=True)
    wait_for(cluster, 2)
    yield
    process.terminate()
    process.wait()


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a node with a file system of its own needs root")


@pytest.mark.slow
@ROOT
@pytest.mark.usefixtures("stranger")
def test_a_folder_that_another_node_does_not_see(cluster, tmp_path):
    said = refused(cluster, tmp_path / "results")
    assert f"does not see '{tmp_path}' (No such file or directory); give a folder that all nodes share" in said


@pytest.mark.slow
@ROOT
def test_with_an_object_store_nodes_share_no_folder(bucket, cluster, stranger, tmp_path):
    output, trial = tmp_path / "results", Trial(dataset="digits", architecture="mlp", epochs=1)
    place = Place(output / ".scratch", output / "data", mirror=bucket)
    with ray_connection(cluster.address, Resources(2), output, SERVER, storage=bucket):
        assert not list(tmp_path.iterdir())  # to ask leaves nothing
        assert run_on_ray(TrialList([trial]), place, Resources(2), Listener(), tmp_path / ".tune", Stop())
    assert not output.exists()  # all of it happened elsewhere
    attempts = Bucket(bucket).attempts(trial.fingerprint)
    Bucket(bucket).get(tmp_path / FILE, trial.fingerprint, newest(attempts), FILE)
    assert ended(tmp_path) == "finished"
    nobody = bucket.replace("bucket", "nobody", 1)
    said = refused(cluster, output, storage=nobody)
    assert said.startswith("--storage: 's3://nobody/some/where' cannot be used")
    assert "reports this" in said


def wait_for(cluster, nodes):
    ray.init(address=cluster.address, log_to_driver=False)
    deadline = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) < nodes:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ray.shutdown()


CLOSED = """
import sys, ray
from ray.cluster_utils import Cluster
print(Cluster(initialize_head=True, head_node_args={"num_cpus": 1}).address, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, "b" * 64])
def test_a_cluster_that_wants_a_token(tmp_path, token):
    owner = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 64}
    head = subprocess.Popen([sys.executable, "-c", CLOSED], env=owner, stdin=-1, stdout=-1, text=True)
    try:
        address = head.stdout.readline().strip()
        stranger = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")}
        stranger |= {"HOME": str(tmp_path / "home")} | ({"RAY_AUTH_TOKEN": token} if token else {})
        command = [sys.executable, "-m", "orchestrator.sweep", "digits", "--address", address]
        done = subprocess.run(
            command, cwd=tmp_path, env=stranger, capture_output=True, text=True, timeout=200, check=False
        )
    finally:
        head.communicate("", timeout=60)
    assert done.returncode == 2, done.stderr
    assert "--address: the cluster answers but refuses the connection; put the token of its head" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(Path(tmp_path).iterdir())
