"""One cluster in the lab for all tests of this folder, and the table of the faults that it outlived."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Sweep
from lab import Lab, lacking
from on_premise import EPOCHS, GRID, OnPremise
from page import ROOT


@pytest.fixture(scope="session")
def wheels(pytestconfig: pytest.Config) -> Path:
    """What `.[cluster]` needs beyond the packages of the tests, so that hosts without internet can install it."""
    assert pytestconfig.cache is not None
    pins = hashlib.sha256((ROOT / "constraints.txt").read_bytes()).hexdigest()[:16]
    folder = pytestconfig.cache.mkdir(f"wheels-{pins}")
    if (folder / "complete").exists():
        return folder
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    asked = ["--constraint", str(ROOT / "constraints.txt"), "--dry-run", "--report", str(folder / "report.json")]
    try:
        subprocess.run([*pip, "install", *asked, "ray[default]"], capture_output=True, text=True, check=True)
        lines = json.loads((folder / "report.json").read_text())["install"]
        names = [f"{line['metadata']['name']}=={line['metadata']['version']}" for line in lines]
        download = ["download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder), "setuptools>=77"]
        subprocess.run([*pip, *download, *names], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the dashboard's packages (ray[default]) cannot be had here: {error.stderr[-300:]}")
    (folder / "complete").touch()
    return folder


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The wire without a host; the folder has a short name and lets everybody through, because of the hosts' users.

    It lies in memory: on a disk, removing the hosts' 20,000 files alone took a minute.
    """
    if why := lacking():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="lab-", ignore_cleanup_errors=True) as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder], check=True)
        lab = Lab(Path(folder))
        try:
            yield lab
        finally:
            lab.end()
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What the plain executor computes for GRID, in one process, one trial after the other."""
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), (*GRID, "--local"), EPOCHS)
    sweep.finish()
    return sweep.results(f"sqlite:///{sweep.folder / 'out' / 'mlflow.db'}", "digits")


@pytest.fixture(scope="session")
def cluster(lab: Lab, wheels: Path) -> OnPremise:
    """The cluster after `ray up`, as soon as that returns."""
    cluster = OnPremise(lab, wheels)
    cluster.up()
    return cluster


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Fault by fault, whether the results were those of an undisturbed sweep; then who listens where."""
    rows, listeners = [], ""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(report.user_properties)
            if "fault" in told and report.when == "call":
                seconds = f"{report.duration:.0f} s"
                rows.append((told["fault"], seconds, told.get("cost", "") if outcome == "passed" else "FAILED"))
            listeners = told.get("listeners", listeners)
    if rows:
        terminalreporter.section("what happened to hosts and sweeps, how long the sweep took with it, what it cost")
        for row in rows:
            terminalreporter.line("{:62}{:8}{}".format(*row))
    if listeners:
        terminalreporter.section("who listens where")
        terminalreporter.line(listeners)
