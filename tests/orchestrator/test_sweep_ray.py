"""The command on a real Ray: killed, interrupted, bereft of a worker, it loses nothing and doubles nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from trainables.record.event_log import FILE, ended, read

GRID = ["digits", "--set", "architecture=conv", "--set", "pruner=[random, snip]", "--set", "compression=[1, 4]"]
EPOCHS = 40


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "orchestrator.sweep", *GRID, "--set", f"epochs={EPOCHS}", *more]
    # Without --address Ray is started here, whatever cluster the machine knows of.
    environment = os.environ | {"HOME": str(folder / "home"), "RAY_ADDRESS": "127.0.0.1:9"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=-1,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # as a shell does for what it starts: Ctrl-C reaches all of it, and not us
    )


def finish(folder: Path, *more: str) -> tuple[int, str]:
    process = start(folder, *more)
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait for something that will happen, and fail if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def records(folder: Path) -> list[Path]:
    """The folders of all trials that have begun."""
    return [file.parent for file in (folder / "results/checkpoints").glob(f"*/{FILE}")]


def epochs(folder: Path) -> int:
    """Epochs recorded so far by all trials together."""
    return sum("train/loss" in event.get("metrics", {}) for record in records(folder) for event, _ in read(record))


def results(folder: Path) -> dict[str, dict[str, float]]:
    """Final metrics by fingerprint, after making sure that MLflow has every epoch exactly once."""
    client = MlflowClient(f"sqlite:///{folder / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("digits").experiment_id
    runs = client.search_runs([experiment], "tags.kind='trial'")
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    for run in runs:
        steps = Counter(metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss"))
        assert steps == dict.fromkeys(range(1, EPOCHS + 1), 1)
    assert not client.search_runs([experiment], "attributes.status='RUNNING'")
    keys = ("final/top1", "final/loss", "best/top1", "model/params_kept", "prune/zero_scores")
    return {run.data.tags["fingerprint"]: {key: run.data.metrics[key] for key in keys} for run in runs}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the plain executor computes, in one process after the other."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out = finish(folder, "--local")
    assert code == 0, out
    return results(folder)


def test_ray_computes_what_the_plain_executor_computes(tmp_path, undisturbed):
    code, out = finish(tmp_path)
    assert code == 0, out
    assert results(tmp_path) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["results"]  # and nothing in the home folder
    assert not (tmp_path / "results/.tune").exists()


@pytest.mark.cluster  # as the other kills
@pytest.mark.slow
def test_a_killed_driver_goes_on_where_it_stood(tmp_path, undisturbed):
    driver = start(tmp_path)
    until(lambda: epochs(tmp_path) > EPOCHS // 2)
    driver.kill()
    driver.wait()
    code, out = finish(tmp_path)
    assert code == 0, out
    assert results(tmp_path) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_to_all_ends_in_good_order_and_the_same_command_goes_on(tmp_path, undisturbed, number):
    driver = start(tmp_path)
    until(lambda: epochs(tmp_path) > EPOCHS // 2)
    os.killpg(driver.pid, number)  # as Ctrl-C does, and queues, systemd and `timeout`
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 130, out
    assert "Interrupted. The same command continues where this one stopped." in out
    assert "Traceback" not in out
    saved = tmp_path.glob("results/checkpoints/*/checkpoint.*.pt")
    assert {file.parent for file in saved} == {folder for folder in records(tmp_path) if ended(folder) is None}
    code, out = finish(tmp_path)
    assert code == 0, out
    assert results(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_closed_terminal_ends_nothing(tmp_path, undisturbed):
    driver = start(tmp_path)
    until(lambda: epochs(tmp_path) > EPOCHS // 2)
    os.killpg(driver.pid, signal.SIGHUP)
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, out
    assert results(tmp_path) == undisturbed


ENDLESS = """
import time
from pathlib import Path

def endless(model, batches, *, mode, generator):
    Path("FILE").touch()
    time.sleep(1e6)
"""


@pytest.mark.slow
def test_ctrl_c_twice_ends_now(tmp_path):
    file, begun = tmp_path / "endless.py", tmp_path / "begun"
    file.write_text(ENDLESS.replace("FILE", str(begun)))
    driver = start(tmp_path, "--set", f"pruner={file}:endless", "--set", "compression=4")
    until(begun.exists)
    rays = {(pid, name) for pid, name in family(driver.pid).items() if "ImplicitFunc" in name or "raylet" in name}
    os.killpg(driver.pid, signal.SIGINT)
    until(lambda: driver.poll() is not None or os.killpg(driver.pid, signal.SIGINT))  # two at one moment are one
    out, _ = driver.communicate()
    assert driver.returncode == 130, out
    assert "The same command" not in out  # that was said by nobody: it ended
    until(lambda: not rays & {(pid, name) for pid, _, name in processes()})  # Ray's agents take a minute longer


@pytest.mark.cluster
@pytest.mark.slow
def test_a_trial_whose_process_is_killed_is_started_again(tmp_path, undisturbed):
    driver = start(tmp_path)
    until(lambda: epochs(tmp_path) > EPOCHS // 2)
    for pid in workers(driver.pid):
        os.kill(pid, signal.SIGKILL)
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, out
    assert results(tmp_path) == undisturbed


def processes() -> list[tuple[int, int, str]]:
    """Process, parent and command line of all that runs here."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    return [(int(pid), int(parent), " ".join(command)) for pid, parent, *command in rows]


def family(driver: int) -> dict[int, str]:
    """The processes that this driver has started, and those that these have, with their command lines."""
    listing, found = processes(), {driver: ""}
    for _ in range(4):
        found |= {pid: command for pid, parent, command in listing if parent in found}
    return found


def workers(driver: int) -> list[int]:
    """The processes of trials that Ray started for this driver."""
    found = [pid for pid, command in family(driver).items() if "ImplicitFunc" in command]
    assert found, processes()
    return found
