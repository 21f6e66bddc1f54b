"""Threads of one process that wait for a file: not in the way of the one that has it, and wants to be alone."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from pruners import prunable, turns
from search_spaces import Trial, stage
from trainables.architectures import build
from trainables.locks import held
from trainables.pretraining import WEIGHTS, trained_weights
from trainables.scores import shared

AFTER = Trial(dataset="digits", architecture="mlp", pruner="magnitude", compression=4, pretrain_epochs=1)
MODEL = build("mlp", (1, 8, 8), 10, seed=0)


def a_file(place, work):
    with held(place.storage / "file.lock"):
        work()


def scores(place, work):
    sharing = replace(place, shared_scores=frozenset({AFTER.scoring}))
    shared(AFTER, sharing, MODEL, lambda: work() or {name: w.detach() for name, w in prunable(MODEL).items()})


def dense_weights(place, work):
    def compute(dense):
        work()
        save_file({"w": torch.ones(1)}, place.storage / dense.fingerprint / WEIGHTS)
        return ""

    trained_weights(stage(AFTER), place.storage, compute)


@pytest.mark.parametrize("get", [a_file, scores, dense_weights])
def test_one_works_alone_on_what_another_waits_for(place, get):
    begun, done = threading.Barrier(2), []

    def alone():
        begun.wait()
        with turns.alone():  # not before the other thread waits: it is at work until then
            done.append("alone")

    def first():
        with turns.at_work():
            get(place, alone)

    def second():
        with turns.at_work():
            begun.wait()
            get(place, lambda: None)
            done.append("after it")

    threads = [threading.Thread(target=job, daemon=True) for job in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == ["alone", "after it"]
