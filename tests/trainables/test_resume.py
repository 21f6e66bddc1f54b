"""Killed at any checkpoint, whatever the phase: the same bits as undisturbed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from timed_metrics import TIMED

from search_spaces import Trial
from trainables.context import Place
from trainables.record import checkpoint
from trainables.record.event_log import read
from trainables.run import run
from trainables.training import loop

BASE = {"dataset": "digits", "architecture": "conv", "compression": 6, "lr": 0.05, "lr_schedule": "cosine"}
AFTER = Trial(**BASE, pruner="lamp", pretrain_epochs=3, epochs=3)
IMP = Trial(**BASE, pruner="imp", levels=2, rewind_epoch=2, epochs=4)
SET = Trial(**BASE, pruner="set", scope="erk", epochs=4, options={"interval": 3})
RIGL = Trial(**BASE, pruner="rigl", scope="erk", epochs=4, options={"interval": 3}, optimizer="adam")
GRADUAL = Trial(**BASE, pruner="gradual", schedule="cubic", iterations=20, epochs=4, pretrain_epochs=1)
STR = Trial(**BASE, pruner="str", epochs=4, options={"initial": -3.0})
MOVEMENT = Trial(**BASE, pruner="movement", epochs=3)
TOP_KAST = Trial(**BASE, pruner="top-kast", scope="layer", epochs=4, options={"interval": 3}, optimizer="adam")
OBS = Trial(**BASE, pruner="obs", options={"block": 8}, samples_per_class=2, epochs=3, pretrain_epochs=2)


def numbers(place, trial):
    events = [event for event, _ in read(place.storage / trial.fingerprint)]
    points = [((key, e["step"]), value) for e in events for key, value in e.get("metrics", {}).items()]
    assert len(points) == len(dict(points))
    return {key: value for key, value in points if key[0] not in TIMED}


def dies(trial, place, saves, within=False):
    """Run the trial, and die as soon as so many checkpoints are saved: after epochs, or after each batch of them."""
    loop.LONG = 0 if within else loop.LONG
    save, left = checkpoint.save, iter(range(saves - 1, -1, -1))

    def last(path, state):
        save(path, state)
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = last
    run(trial, place)


CUT = Trial(**BASE, pruner="snip", granularity="filter", epochs=3, ema=0.99, accumulate=2, warmup_epochs=1)
ADAM = Trial(**BASE | {"compression": 50, "lr": 0.001}, pruner="snip", epochs=3, optimizer="adam")  # compacted as well
WITHIN = True
STRONG = {"rand_augment": 9, "random_erasing": 0.25, "mixup": 0.8, "cutmix": 1.0}
MIXED = Trial(**BASE, pruner="magnitude", epochs=3, label_smoothing=0.1, **STRONG)


@pytest.mark.parametrize(
    ("trial", "saves", "within"),
    [
        pytest.param(AFTER, 1, False, id="in the pre-training"),
        pytest.param(AFTER, 3, False, id="in the fine-tuning"),
        pytest.param(IMP, 2, False, id="in the dense training"),
        pytest.param(IMP, 4, False, id="before the first level"),
        pytest.param(IMP, 5, False, id="on the way to the rewinding point"),
        pytest.param(IMP, 7, False, id="in the first level"),
        pytest.param(IMP, 8, False, id="in the last level"),
        pytest.param(OBS, 2, False, id="after weights were updated"),
        pytest.param(SET, 2, False, id="set"),
        pytest.param(RIGL, 2, False, id="rigl"),
        pytest.param(GRADUAL, 2, False, id="gradual, after one epoch of pre-training"),
        pytest.param(IMP.model_copy(update={"ema": 0.9}), 5, WITHIN, id="within the dense training, averaged"),
        pytest.param(SET.model_copy(update={"ema": 0.9}), 16, WITHIN, id="set, within an epoch, averaged"),
        pytest.param(RIGL, 16, WITHIN, id="rigl, within an epoch"),
        pytest.param(STR, 2, False, id="str, while thresholds are learned"),
        pytest.param(STR, 40, WITHIN, id="str, within an epoch, after them"),
        pytest.param(TOP_KAST.model_copy(update={"ema": 0.9}), 16, WITHIN, id="top-kast, within an epoch, averaged"),
        pytest.param(MOVEMENT, 16, WITHIN, id="movement, within an epoch"),
        pytest.param(MIXED, 16, WITHIN, id="mixed and erased, within an epoch"),
        pytest.param(ADAM, 2, False, id="compacted, with Adam"),
        pytest.param(ADAM, 2, WITHIN, id="compacted, with Adam, within an epoch"),
        pytest.param(CUT, 16, WITHIN, id="compacted, within an epoch"),
    ],
)
def test_the_same_bits(trial, saves, within, cache, tmp_path):
    undisturbed, killed = (Place(tmp_path / name, cache, save_seconds=0) for name in ("undisturbed", "killed"))
    assert run(trial, undisturbed).error == ""
    child = multiprocessing.get_context("fork").Process(target=dies, args=(trial, killed, saves, within))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert run(trial, replace(killed, save_seconds=60)).error == ""
    assert numbers(killed, trial) == numbers(undisturbed, trial)
    for file in ("masks", "weights"):
        a, b = (load_file(place.storage / trial.fingerprint / f"{file}.safetensors") for place in (undisturbed, killed))
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_updated_weights_are_computed_again_where_no_checkpoint_has_them(cache, tmp_path):
    undisturbed, killed = (Place(tmp_path / name, cache, save_seconds=0) for name in ("undisturbed", "killed"))
    assert run(OBS, undisturbed).error == ""
    child = multiprocessing.get_context("fork").Process(target=dies, args=(OBS, killed, 2))
    child.start()
    child.join()
    assert (killed.storage / OBS.fingerprint / "masks.safetensors").exists()
    checkpoint.remove(killed.storage / OBS.fingerprint / checkpoint.CHECKPOINT)
    assert run(OBS, killed).error == ""
    assert numbers(killed, OBS) == numbers(undisturbed, OBS)
    tags = {key: value for e, _ in read(killed.storage / OBS.fingerprint) for key, value in e.get("tags", {}).items()}
    assert tags["weights_updated"] == "true"
