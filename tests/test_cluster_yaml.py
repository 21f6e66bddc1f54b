"""The clusters of `ray up`: what Ray's own launcher accepts, closed to strangers, and one like the other."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent
CLOUDS = ["cluster.yaml", "deploy/gcp.yaml"]
LAUNCHED = [*CLOUDS, "deploy/on-premise.yaml"]


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_no_cluster_is_left_out():
    files = [ROOT / "cluster.yaml", *(ROOT / "deploy").glob("*.yaml")]
    launched = {str(file.relative_to(ROOT)) for file in files if "cluster_name:" in file.read_text(encoding="utf-8")}
    assert launched == set(LAUNCHED)


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_accepts_it(name):
    validate_config(prepare_config(read(name)))


@pytest.mark.parametrize("name", LAUNCHED)
def test_who_has_no_token_is_refused(name):
    config = prepare_config(read(name))
    head, workers = config["head_start_ray_commands"], config["worker_start_ray_commands"]
    starts = [command for command in [*head, *workers] if "ray start" in command]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in " ".join(head)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("name", LAUNCHED)
def test_no_ray_sends_statistics_and_a_stopped_job_has_time(name):
    head, workers = (read(name)[key][-1] for key in ("head_start_ray_commands", "worker_start_ray_commands"))
    for command in (head, workers):
        assert "/ray start" in command
        assert "--disable-usage-stats" in command
    assert "RAY_JOB_STOP_WAIT_TIME_S=100 " in head


def test_every_ray_up_that_is_shown_sends_no_statistics():
    shown = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").iterdir(), ROOT / "cluster.yaml"]
    typed = re.compile(r"(?:^ {4}\S*|=0 |run `)ray up (?!--disable-usage-stats)", re.M)
    assert not [file.name for file in shown if typed.search(file.read_text(encoding="utf-8"))]


def test_ssh_on_aws_is_not_open_to_the_world():
    """Ray leaves groups alone that are given for all kinds of nodes; its own lets everybody try."""
    from ray.autoscaler._private.aws import config as aws

    prepared = prepare_config(read("cluster.yaml"))
    assert aws._configure_security_group(prepared) == prepared
    groups = [kind["node_config"]["SecurityGroupIds"] for kind in prepared["available_node_types"].values()]
    assert groups == [["sg-CHANGEME"]] * 2


def test_a_low_limit_of_open_files_makes_no_noise():
    (line,) = {read(name)["worker_start_ray_commands"][-1].partition(";")[0] for name in LAUNCHED}
    script = f"ulimit -n 1024; {line}; ulimit -n"
    nobody = "nobody" if os.getuid() == 0 else None  # root may raise any limit
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, user=nobody)
    assert (done.stdout, done.stderr) == ("1024\n", "")


def test_the_token_is_closed_before_anything_else():
    script = (ROOT / "deploy/node.sh").read_text(encoding="utf-8")
    commands = [line for line in script.splitlines() if line and not line.startswith("#")]
    assert commands[1].startswith("chmod 600 ~/.ray/auth_token")
    assert "(umask 077; .venv/bin/ray get-auth-token --generate)" in (ROOT / "docs/cluster.md").read_text("utf-8")


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_come_and_go(name):
    config = prepare_config(read(name))
    head, gpu = (config["available_node_types"][kind] for kind in ("head", "gpu_spot"))
    assert gpu["min_workers"] == 0
    assert gpu["max_workers"] == config["max_workers"] > 0
    assert gpu["resources"]["GPU"] > 0  # stated: the driver asks it whether a trial will ever fit
    assert head["max_workers"] == head["resources"]["CPU"] == 0
    assert config["idle_timeout_minutes"] <= 10


@pytest.mark.parametrize("name", LAUNCHED)
def test_what_is_sent_is_there_and_is_the_whole_program(name):
    sent = {there: here for there, here in read(name)["file_mounts"].items() if here != "~/.ray/auth_token"}
    assert all((ROOT / here).exists() for here in sent.values())
    packages = {init.parent.name for init in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    assert packages | {"pyproject.toml", "constraints.txt", "deploy"} <= set(sent.values())
    assert all(there == f"~/pruning-sweeps/{here}" for there, here in sent.items())


@pytest.mark.parametrize("key", ["file_mounts", "rsync_exclude", "worker_start_ray_commands"])
def test_what_all_clusters_share_is_the_same_in_all(key):
    assert len({yaml.safe_dump(read(name)[key]) for name in LAUNCHED}) == 1


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").glob("*.s[hb]*")), ids=lambda path: path.name)
def test_scripts_are_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111, "not executable"


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_scripts_that_run_on_nodes_exist(name):
    config = read(name)
    commands = " ".join([*config["setup_commands"], *config["head_start_ray_commands"]])
    for script in ("deploy/node.sh", "deploy/head.sh"):
        assert f"~/pruning-sweeps/{script}" in commands
        assert (ROOT / script).exists()
