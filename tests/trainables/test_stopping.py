"""A trial that is asked to stop saves where it stands; one that needs more of a GPU says so and has not failed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from timed_metrics import TIMED

from pruners import registry
from search_spaces import Trial
from trainables.context import Place
from trainables.gpu.memory import CONTEXT_BYTES, allowed, keep_to
from trainables.record.checkpoint import CHECKPOINT, generations
from trainables.record.event_log import ended, read
from trainables.run import TrialOutcome, run

SHORT = {"dataset": "digits", "architecture": "mlp", "seed": 0, "epochs": 6}


def metrics(place, trial):
    """Every metric but the times, by key and step."""
    events = [event for event, _ in read(place.storage / trial.fingerprint) if "metrics" in event]
    found = {(key, event["step"]): value for event in events for key, value in event["metrics"].items()}
    return {key: value for key, value in found.items() if key[0] not in TIMED}


def tags(folder):
    return {key: value for event, _ in read(folder) for key, value in event.get("tags", {}).items()}


def epochs(place, trial):
    return [step for key, step in metrics(place, trial) if key == "train/loss"]


@pytest.mark.parametrize(
    "what",
    [
        {"pruner": "snip", "compression": 4},
        {"pruner": "magnitude", "compression": 4, "pretrain_epochs": 3},
        {"pruner": "imp", "compression": 4, "levels": 2, "rewind_epoch": 1},
        {"pruner": "rigl", "compression": 4},
    ],
    ids=lambda what: what["pruner"],
)
def test_stopped_after_every_epoch_it_computes_the_same(tmp_path, what):
    trial = Trial(**SHORT | what)
    alone, stopped = (Place(tmp_path / name, tmp_path / "data") for name in ("alone", "stopped"))
    assert run(trial, alone).end == "finished"
    pauses = 0
    while True:
        answers = iter([False, False])  # before the trial (and its stage), then one epoch
        if run(trial, stopped, lambda answers=answers: next(answers, True)).end == "finished":
            break
        pauses += 1
        assert pauses < 30
    assert pauses >= 2
    assert metrics(stopped, trial) == metrics(alone, trial)


def test_a_stop_is_no_end_and_loses_no_epoch(tmp_path):
    trial, place = Trial(**SHORT), Place(tmp_path, tmp_path / "data")
    assert run(trial, place, lambda: True) == TrialOutcome("interrupted")
    assert not (tmp_path / trial.fingerprint).exists()  # it had not begun
    answers = iter([False, False])
    assert run(trial, place, lambda: next(answers, True)) == TrialOutcome("interrupted")
    assert ended(tmp_path / trial.fingerprint) is None
    assert generations(tmp_path / trial.fingerprint / CHECKPOINT)
    assert epochs(place, trial) == [1, 2]


@pytest.mark.parametrize(
    "what",
    [{}, {"pruner": "imp", "compression": 4, "levels": 2}, {"pruner": "lamp", "compression": 4, "pretrain_epochs": 3}],
    ids=["dense", "levels", "pretrained"],
)
def test_a_trial_that_is_stopped_early_can_be_carried_on(tmp_path, what):
    trial = Trial(**SHORT | what)
    alone, stopped_early = (Place(tmp_path / name, tmp_path / "data") for name in ("alone", "stopped_early"))
    folder = stopped_early.storage / trial.fingerprint
    run(trial, alone)
    judged: list[int] = []

    def judge(metrics, epoch):
        judged.append(epoch)
        return "the rule" if epoch == 4 else ""

    assert run(trial, stopped_early, judge=judge) == TrialOutcome("stopped", epoch=4)
    assert judged == [1, 2, 3, 4]  # of its own training, not of those before it
    assert ended(folder) == "stopped"
    assert tags(folder)["stopped"] == "epoch 4 by the rule"
    assert generations(folder / CHECKPOINT)
    assert run(trial, stopped_early).end == "finished"
    assert tags(folder)["stopped"] == ""
    assert metrics(stopped_early, trial) == metrics(alone, trial)


def test_after_the_last_epoch_nobody_is_asked(tmp_path):
    trial, judged = Trial(**SHORT | {"epochs": 2}), []
    outcome = run(trial, Place(tmp_path, tmp_path / "data"), judge=lambda _, epoch: judged.append(epoch) or "")
    assert (outcome.end, judged) == ("finished", [1])


@pytest.fixture
def out_of_memory(monkeypatch):
    def scores(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hungry = registry.lookup("snip")
    monkeypatch.setattr("trainables.training.trainer.lookup", lambda name, code: replace(hungry, score=scores))


@pytest.mark.parametrize("grow", [True, False])
def test_out_of_memory(tmp_path, out_of_memory, grow):
    trial = Trial(**SHORT, pruner="snip", compression=4)
    place = Place(tmp_path, tmp_path / "data", gpus=0.25, grow=grow)
    outcome = run(trial, place)
    tags = {
        key: value for event, _ in read(tmp_path / trial.fingerprint) for key, value in event.get("tags", {}).items()
    }
    assert outcome.error.startswith("OutOfMemoryError: CUDA out of memory")
    if grow:
        assert (outcome.end, ended(tmp_path / trial.fingerprint)) == ("memory", None)
        assert tags["out_of_memory"] == "with 0.25 of a GPU; tried again with more"
        assert "error" not in tags
    else:
        assert (outcome.end, ended(tmp_path / trial.fingerprint)) == ("failed", "failed")
        assert tags["error"] == outcome.error


@pytest.mark.parametrize(
    ("share", "gib", "fraction"),
    [(1, 80, 1.0), (2, 80, 1.0), (0.5, 80, 0.5 - CONTEXT_BYTES / (80 * 2**30)), (0.01, 16, 0.01)],
)
def test_the_cap_leaves_room_for_the_context(share, gib, fraction):
    assert allowed(share, gib * 2**30) == pytest.approx(fraction)


@pytest.mark.parametrize("packed", range(1, 17))
def test_packed_trials_never_take_more_than_the_gpu(packed):
    total = 80 * 2**30
    assert packed * (allowed(1 / packed, total) * total + (packed > 1) * CONTEXT_BYTES) <= total * (1 + 1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here: the cap of a GPU share is not tried")
def test_a_share_is_held():
    keep_to(0.25, torch.device("cuda", 0))
    total = torch.cuda.get_device_properties(0).total_memory
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
    keep_to(1, torch.device("cuda", 0))
