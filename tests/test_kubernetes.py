"""The RayJob, what it needs beside it, and the image of both agree with each other and with this checkout."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
JOB = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text(encoding="utf-8"))["spec"]
BESIDE = list(yaml.safe_load_all((ROOT / "deploy/mlflow.yaml").read_text(encoding="utf-8")))
CLUSTER = JOB["rayClusterSpec"]
# KubeRay's CRD of v1.7 as far as it is used here; the whole file was checked against the CRD when it was written.
KNOWN_JOB = {
    *("activeDeadlineSeconds", "backoffLimit", "entrypoint", "rayClusterSpec", "runtimeEnvYAML", "submissionMode"),
    *("shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "submitterPodTemplate", "suspend"),
}
KNOWN_CLUSTER = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion", "workerGroupSpecs"),
}
KNOWN_GROUP = {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
    "idleTimeoutSeconds",
}


def containers(spec: Any) -> list[dict[str, Any]]:
    """All containers anywhere below."""
    if isinstance(spec, list):
        return [found for item in spec for found in containers(item)]
    if not isinstance(spec, dict):
        return []
    return [*spec.get("containers", []), *(found for item in spec.values() for found in containers(item))]


def named(kind: str, name: str) -> dict[str, Any]:
    return next(doc for doc in BESIDE if doc["kind"] == kind and doc["metadata"]["name"] == name)


def test_fields_are_those_of_kuberay():
    assert set(JOB) <= KNOWN_JOB
    assert set(CLUSTER) <= KNOWN_CLUSTER
    assert all(set(group) <= KNOWN_GROUP for group in [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]])


def test_versions_are_the_pinned_ones():
    assert CLUSTER["rayVersion"] == PINS["ray"]
    images = {box["image"] for box in [*containers(CLUSTER), *containers(named("Deployment", "mlflow"))]}
    assert len(images) == 1
    assert images.pop().endswith(f"/pruning-sweeps:{PROJECT['version']}")
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"pruning-sweeps:{PROJECT['version']}" in dockerfile
    assert "--constraint constraints.txt" in dockerfile


def test_workers_come_and_go_and_the_head_runs_no_trial():
    (gpu,) = CLUSTER["workerGroupSpecs"]
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert gpu["replicas"] == gpu["minReplicas"] == 0 < gpu["maxReplicas"]
    (box,) = gpu["template"]["spec"]["containers"]
    assert int(box["resources"]["limits"]["nvidia.com/gpu"]) >= 1
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (head,) = CLUSTER["headGroupSpec"]["template"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_closed_to_strangers():
    assert CLUSTER["authOptions"] == {"mode": "token"}
    head = CLUSTER["headGroupSpec"]["template"]["metadata"]["labels"]
    (rule,) = named("NetworkPolicy", "mlflow")["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": head}}]
    assert not any(doc["kind"] == "Secret" for doc in BESIDE), "a password in a file"
    services = [doc["spec"].get("type", "ClusterIP") for doc in BESIDE if doc["kind"] == "Service"]
    assert services == ["ClusterIP"] * 2


def test_every_pod_sees_the_shared_folder():
    claim = named("PersistentVolumeClaim", "sweeps")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pods = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"], named("Deployment", "mlflow")["spec"]]
    for pod in (group["template"]["spec"] for group in pods):
        volumes = {v["name"]: v.get("persistentVolumeClaim", {}).get("claimName") for v in pod["volumes"]}
        assert volumes["shared"] == "sweeps"
        assert {"name": "shared", "mountPath": "/shared"} in pod["containers"][0]["volumeMounts"]


def test_mlflow_is_found_and_lets_the_driver_in():
    (port,) = named("Service", "mlflow")["spec"]["ports"]
    uri = re.search(r"--tracking-uri http://([\w-]+):(\d+)", JOB["entrypoint"])
    assert uri and uri.groups() == ("mlflow", str(port["port"]))
    (box,) = named("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    assert any(argument.startswith("--allowed-hosts=mlflow:*,") for argument in box["command"])
    assert f"--port={port['port']}" in box["command"]


def test_the_whole_entrypoint_reaches_the_head(tmp_path):
    """KubeRay pastes it into a script of bash that runs in another pod; what that shell does not keep is the job."""
    (tmp_path / "ray").write_text('#!/bin/bash\nprintf "%s\\n" "${@:4}"\n')
    (tmp_path / "ray").chmod(0o755)
    script = f"if true ; then ray job submit -- {JOB['entrypoint'].strip()} ; fi ; echo end"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-ce", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*JOB["entrypoint"].split(), "end"]


def test_the_end_of_a_head_is_told_to_its_sweep_and_to_nothing_else():
    pod = CLUSTER["headGroupSpec"]["template"]["spec"]
    (head,) = pod["containers"]
    bash, option, hook = head["lifecycle"]["preStop"]["exec"]["command"]
    assert (bash, option) == ("bash", "-c")
    pattern = re.search(r"pkill -TERM -f '(.+)'; sleep (\d+)", hook)
    assert pattern
    assert re.search(pattern[1], JOB["entrypoint"])
    assert not re.search(pattern[1], f"/bin/sh -c {JOB['entrypoint']}")
    assert 5 <= int(pattern[2]) < pod["terminationGracePeriodSeconds"]
    assert "procps" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert {"name": "RAY_JOB_STOP_WAIT_TIME_S", "value": "100"} in head["env"]


def test_the_image_works_in_any_folder():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "--editable" not in dockerfile
    assert dockerfile.index("--no-deps --force-reinstall .") > dockerfile.index("COPY trainables trainables")


@pytest.mark.parametrize("name", ["mlflow", "mlflow-postgres"])
def test_services_lead_to_their_pods(name):
    kind = "Deployment" if name == "mlflow" else "StatefulSet"
    labels = named(kind, name)["spec"]["template"]["metadata"]["labels"]
    assert named("Service", name)["spec"]["selector"] == labels
    assert named("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"] == labels


def test_the_image_holds_the_whole_program_and_is_not_root():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    packages = {init.parent.name for init in ROOT.glob("*/__init__.py")} - {"benchmarks", "tests"}
    for package in packages:
        assert f"\nCOPY {package} {package}\n" in dockerfile
        assert f"!{package}" in ignored
    assert re.findall(r"^USER (\w+)", dockerfile, re.M)[-1] != "root"
    assert "cluster" in PROJECT["optional-dependencies"]
