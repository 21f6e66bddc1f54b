"""A disk that is full, really: one line, nothing half-written, and on from there once there is space."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from timed_metrics import TIMED

from search_spaces import Trial
from trainables.context import Place
from trainables.record.event_log import must_restart, read
from trainables.run import run

TRIAL = Trial(dataset="digits", architecture="conv", pruner="snip", compression=4, epochs=4, lr=0.05, optimizer="adam")


def numbers(place):
    events = [event for event, _ in read(place.storage / TRIAL.fingerprint)]
    points = [((key, e["step"]), value) for e in events for key, value in e.get("metrics", {}).items()]
    assert len(points) == len(dict(points))
    return {key: value for key, value in points if key[0] not in TIMED}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MiB; a test that cannot mount one says so."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no right to mount a small disk here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.parametrize("free", [0, 10_000, 60_000, 250_000, 400_000])
def test_a_full_disk_is_no_end_of_the_trial(small_disk, tmp_path, free):
    cache = tmp_path / "data"
    whole = Place(tmp_path / "whole", cache, save_seconds=0)
    assert run(TRIAL, whole).error == ""
    place = replace(whole, storage=small_disk / "storage")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (4 * 2**20 - free - 3 * 4096))
    outcome = run(TRIAL, place)
    folder = place.storage / TRIAL.fingerprint
    if outcome.end == "finished":
        pytest.fail(f"{free} bytes were enough")
    assert outcome.end == "full"
    assert outcome.error.startswith(f"the disk is full: {place.storage}")
    assert "\n" not in outcome.error
    assert not folder.exists() or not must_restart(folder)  # which also reads the record to its end
    assert not [path for path in folder.glob(".*") if path.suffix != ".lock"]  # nothing half-written
    ballast.unlink()
    assert run(TRIAL, place).error == ""
    assert numbers(place) == numbers(whole)
