"""A whole trial in one plain process: no Ray, no MLflow, the same numbers always."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from timed_metrics import TIMED

from search_spaces import Trial, stage
from trainables import datasets, phases
from trainables import run as module
from trainables.record import checkpoint
from trainables.record.event_log import read
from trainables.record.predictions import PREDICTIONS, read_predictions
from trainables.run import main, run

SNIP = Trial(
    dataset="digits", architecture="conv", pruner="snip", compression=10, mode="train", epochs=4, lr=0.05, batch_size=64
)


def numbers(place, trial):
    """Every metric but the times, by key and step."""
    return {
        (key, event["step"]): value
        for event, _ in read(place.storage / trial.fingerprint)
        for key, value in event.get("metrics", {}).items()
        if key not in TIMED
    }


def test_a_trial_records_what_the_design_promises(place):
    assert run(SNIP, place).end == "finished"
    folder = place.storage / SNIP.fingerprint
    events = [event for event, _ in read(folder)]
    once = {key for event in events for key in event.get("metrics", {})}
    assert once == {
        *("train/loss", "train/top1", "test/loss", "test/top1", "test/top5", "time/epoch_seconds"),
        *("final/top1", "final/top5", "final/loss", "best/top1"),
        *("model/params", "model/params_kept", "model/compression", "model/macs", "model/macs_kept"),
        *("model/params_compacted", "model/macs_compacted", "prune/effective_density", "prune/dead_weights"),
        *("model/latency_ms", "model/latency_inputs", "model/speedup", "model/speedup_spread"),
        *("cost/training_macs", "cost/dense_training_macs"),
        *("model/peak_mb", "model/file_mb"),
        *("time/prune_seconds", "time/train_seconds", "time/images_per_second", "time/total_seconds"),
        *("profile/density", "profile/macs_kept", "prune/empty_layers", "prune/zero_scores"),
        "prune/tied_scores",
    }
    assert len(once) <= 40  # MLflow's pages slow down with every key
    artifacts = [event["artifact"] for event in events if "artifact" in event]
    assert {"trial.json", "layers.json", "masks.safetensors", "histograms.json", "histograms.png", PREDICTIONS} <= set(
        artifacts
    )
    assert all((folder / name).stat().st_size for name in artifacts)
    assert Trial.model_validate_json((folder / "trial.json").read_text()) == SNIP
    assert not checkpoint.generations(folder / "checkpoint.pt")


def test_the_numbers_fit_the_masks(place):
    run(SNIP, place)
    folder, found = place.storage / SNIP.fingerprint, numbers(place, SNIP)
    masks = load_file(folder / "masks.safetensors")
    n, kept = sum(m.numel() for m in masks.values()), sum(int(m.sum()) for m in masks.values())
    assert kept == n - int((1 - 1 / 10) * n)
    assert found["model/compression", 0] == pytest.approx(n / kept)
    assert found["model/params", 0] - found["model/params_kept", 0] == n - kept
    densities = [found["profile/density", step] for step in range(len(masks))]
    assert densities == pytest.approx([float(m.float().mean()) for m in masks.values()])
    rows = json.loads((folder / "layers.json").read_text())
    assert [row[rows["columns"].index("kept")] for row in rows["data"]] == [int(m.sum()) for m in masks.values()]
    weights = load_file(folder / "weights.safetensors")
    assert all((weights[name][~mask] == 0).all() for name, mask in masks.items())


@pytest.mark.parametrize(
    "change", [{}, {"epochs": 0}, {"compression": 300}, {"ema": 0.9}, {"pruner": "imp", "levels": 2, "epochs": 1}]
)
def test_the_predictions_are_those_behind_the_final_accuracy(place, change):
    trial = SNIP.model_copy(update={"epochs": 2} | change)
    assert run(trial, place).error == ""
    stored = read_predictions((place.storage / trial.fingerprint / PREDICTIONS).read_bytes())
    found, data = numbers(place, trial), datasets.load("digits", None, place.cache)
    assert stored.test_set == ("digits", data.test_digest)
    assert stored.top1.mean() == found["final/top1", 0] and stored.top5.mean() == found["final/top5", 0]
    assert ((stored.classes == data.test_y.numpy()) == stored.top1).all()


def test_the_digest_is_of_the_test_sets_classes_and_of_the_users_images(cache):
    data = datasets.load("digits", None, cache)
    other = replace(data, test_y=data.test_y.roll(1)), replace(data, spec=replace(data.spec, digest="x"))
    assert len({data.test_digest, *(each.test_digest for each in other)}) == 3
    assert replace(data, train_y=data.train_y.roll(1)).test_digest == data.test_digest


def test_a_finished_trial_is_not_computed_again(place, monkeypatch):
    run(SNIP, place)
    monkeypatch.setattr(phases, "make_trainer", lambda *a: pytest.fail("built a model"))
    assert run(SNIP, place).end == "finished"


def test_the_same_numbers_wherever_and_after_whatever(place, tmp_path):
    run(SNIP, place)
    torch.manual_seed(99)
    other = replace(place, storage=tmp_path / "other")
    run(SNIP.model_copy(update={"pruner": "synflow", "iterations": 3, "schedule": "exponential"}), other)
    run(SNIP, other)
    assert numbers(place, SNIP) == numbers(other, SNIP)


def test_another_seed_is_another_trial(place):
    other = SNIP.model_copy(update={"seed": 1})
    run(SNIP, place)
    run(other, place)
    assert numbers(place, SNIP)["final/loss", 0] != numbers(place, other)["final/loss", 0]


KILLED = """
import os, signal, sys
from pathlib import Path
from search_spaces import Trial, stage
from trainables.record.event_log import EventLog
from trainables.context import Place
from trainables.run import run

recorded = EventLog.metrics
def metrics(self, values, step=0):
    recorded(self, values, step)
    if "train/loss" in values and step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
EventLog.metrics = metrics
run(Trial.model_validate_json(sys.argv[1]), Place(Path(sys.argv[2]), Path(sys.argv[3]), save_seconds=0))
"""


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(place, tmp_path):
    undisturbed = replace(place, storage=tmp_path / "undisturbed")
    run(SNIP, undisturbed)
    command = [sys.executable, "-c", KILLED, SNIP.model_dump_json(), str(place.storage), str(place.cache)]
    assert subprocess.run(command, check=False).returncode == -9
    folder = place.storage / SNIP.fingerprint
    assert checkpoint.generations(folder / "checkpoint.pt")
    assert run(SNIP, place).end == "finished"
    assert numbers(place, SNIP) == numbers(undisturbed, SNIP)
    assert (folder / PREDICTIONS).read_bytes() == (undisturbed.storage / folder.name / PREDICTIONS).read_bytes()
    points = [(key, event["step"]) for event, _ in read(folder) for key in event.get("metrics", {})]
    assert len(points) == len(set(points))


def test_a_trial_that_raises_is_a_failed_outcome_with_its_traceback(place):
    bad = SNIP.model_copy(update={"lr": 1e20})
    outcome = run(bad, place)
    assert outcome.end == "failed"
    assert outcome.error.startswith("TrainingError: the training loss is")
    folder = place.storage / bad.fingerprint
    assert "TrainingError" in (folder / "traceback.txt").read_text()
    events = [event for event, _ in read(folder)]
    assert events[-1]["end"] == "failed"
    assert not any("final/top1" in event.get("metrics", {}) for event in events)


def test_collapse_is_reported_and_the_trial_goes_on(place):
    bare = SNIP.model_copy(update={"architecture": "mlp", "pruner": "magnitude", "compression": 5000, "epochs": 1})
    assert run(bare, place).end == "finished"
    tags = {k: v for event, _ in read(place.storage / bare.fingerprint) for k, v in event.get("tags", {}).items()}
    assert tags["collapsed"] == "true"
    assert numbers(place, bare)["prune/empty_layers", 0] > 0


def test_without_epochs_the_untrained_network_is_evaluated(place):
    idle = SNIP.model_copy(update={"epochs": 0})
    run(idle, place)
    assert 0 <= numbers(place, idle)["final/top1", 0] < 0.6


def test_large_weights_are_not_kept(place):
    run(SNIP, replace(place, weights_mb=0))
    assert not (place.storage / SNIP.fingerprint / "weights.safetensors").exists()


@pytest.mark.parametrize("name", ["masks.safetensors", "checkpoint.1.pt"])
def test_a_damaged_file_is_computed_anew(place, tmp_path, name):
    whole = replace(place, storage=tmp_path / "whole")
    run(SNIP, whole)
    folder = place.storage / SNIP.fingerprint
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"garbage")
    assert run(SNIP, place).end == "finished"
    assert numbers(place, SNIP) == numbers(whole, SNIP)
    assert (folder / f"{name}.damaged").exists() is ("checkpoint" in name)  # masks that no record names do not count


def test_a_damaged_record_is_a_failure_that_says_so(place):
    folder = place.storage / SNIP.fingerprint
    folder.mkdir(parents=True)
    (folder / "outbox.jsonl").write_bytes(b"garbage\n")
    outcome = run(SNIP, place)
    assert outcome.end == "failed"
    assert "outbox.jsonl is damaged at byte 0" in outcome.error


def test_two_processes_do_not_write_one_record(place, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(module, "WRITER_SECONDS", 0)
    folder = place.storage / SNIP.fingerprint
    folder.mkdir(parents=True)
    with FileLock(folder / ".writer.lock"):
        outcome = run(SNIP, place)
    assert outcome.end == "elsewhere"  # no failure: that process may well finish it
    assert not (folder / "outbox.jsonl").exists()


def test_what_another_process_trains_to_start_from_is_no_failure_either(place, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(module, "WRITER_SECONDS", 0)
    trial = SNIP.model_copy(update={"pretrain_epochs": 1})
    dense = stage(trial)
    (place.storage / dense.fingerprint).mkdir(parents=True)
    with FileLock(place.storage / dense.fingerprint / ".writer.lock"):
        assert run(trial, place).end == "elsewhere"
    assert run(trial, place).end == "finished"


def test_a_failure_of_its_own_is_not_gone_on_from(place):
    bad = SNIP.model_copy(update={"lr": 1e20})
    run(bad, place)
    folder = place.storage / bad.fingerprint
    first = (folder / "outbox.jsonl").read_text()
    run(bad, place)
    assert first not in (folder / "outbox.jsonl").read_text()


def test_a_pruned_trial_says_how_it_was_trained(place):
    sparse = SNIP.model_copy(update={"compression": 300, "epochs": 1})
    for trial, how in ((SNIP, "whole: "), (sparse, "compacted: ")):
        run(trial, place)
        tags = {k: v for event, _ in read(place.storage / trial.fingerprint) for k, v in event.get("tags", {}).items()}
        assert tags["trained"].startswith(how)


def test_a_record_that_is_not_there_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run", str(tmp_path / "trial.json"), str(tmp_path / "out")])
    assert main() == 2
    assert capsys.readouterr().err.startswith("run: [Errno 2] No such file")
    assert not (tmp_path / "out").exists()
