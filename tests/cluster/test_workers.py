"""Trials with a worker on each of two nodes: one is killed, and the numbers are those of one worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import OPEN, Nodes, Server, Sweep, final, processes, until
from PIL import Image

from search_spaces import Trial
from trainables.context import Place
from trainables.record.event_log import read
from trainables.run import run

pytestmark = pytest.mark.cluster
EPOCHS = 6
NETWORK = """
from torch import nn

def tiny(input_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 8, 16, stride=16), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes),
    )
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Laid out as ImageNet is, of several sizes: so they are streamed. A class is a colour."""
    draw, folder = np.random.default_rng(0), tmp_path / "images"
    for part, count in (("train", 13), ("val", 5)):
        for number in range(2):
            (folder / part / f"n{number:08}").mkdir(parents=True)
            for image in range(count):
                pixels = draw.integers(0, 128, (*draw.integers(40, 60, 2), 3), dtype=np.uint8)
                pixels[:, :, number] += 60
                Image.fromarray(pixels).save(folder / part / f"n{number:08}" / f"{image}.png")
    return folder


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    for key, value in OPEN.items():
        monkeypatch.setenv(key, value)
    nodes = Nodes(workers=2, cpus=1)
    yield nodes
    nodes.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, f"sqlite:///{tmp_path / 'server.db'}")
    yield server
    server.kill()


def workers() -> list[int]:
    """The processes of workers other than the first, without those that they fork to read images."""
    found = {pid: parent for pid, parent, command in processes() if command.startswith("ray::Worker.work")}
    return [pid for pid, parent in found.items() if parent not in found]


def test_a_worker_is_killed_and_the_trial_goes_on(tmp_path: Path, images: Path, nodes: Nodes, server: Server) -> None:
    space, network = tmp_path / "two.yaml", tmp_path / "net.py"
    network.write_text(NETWORK)
    space.write_text(
        f"dataset: 'folder:{images}'\narchitecture: {network}:tiny\n"
        f"pruner: snip\ncompression: 4\nsamples_per_class: 4\n"
        f"batch_size: 8\nlr: 0.05\nepochs: {EPOCHS}\nworkers_per_trial: 2\n"
    )
    cluster = ("--address", nodes.address, "--tracking-uri", server.uri, "--checkpoint-every", "0.01s")
    sweep = Sweep(tmp_path, (str(space), *cluster), EPOCHS)
    with sweep.running() as driver:
        until(lambda: driver.poll() is not None or sweep.recorded() >= 2, "the second epoch")
        (worker,) = workers()
        os.kill(worker, signal.SIGKILL)
        out, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, out
    assert (tmp_path / "out" / "report" / "report.html").exists()
    until(lambda: not workers(), "no worker is left")
    (fingerprint, found), *others = sweep.results(server.uri, "two").items()
    assert not others
    attempts = [event for event, _ in read(sweep.records / fingerprint) if "machine" in event.get("tags", {})]
    assert len(attempts) == 2
    trial = Trial.model_validate_json((sweep.records / fingerprint / "trial.json").read_text())
    assert run(trial, Place(storage=tmp_path / "alone", cache=tmp_path / "out" / "data")).end == "finished"
    alone = {
        key: n for event, _ in read(tmp_path / "alone" / fingerprint) for key, n in event.get("metrics", {}).items()
    }
    assert found == pytest.approx(final(alone), rel=0.02)  # float32, and a loss near zero
