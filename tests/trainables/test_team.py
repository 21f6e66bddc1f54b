"""Several workers on one trial: the numbers of one worker, and none of them left over or missed."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables import checkpoint
from trainables.architectures import build
from trainables.bench import bench
from trainables.checkpoint import CHECKPOINT
from trainables.computation import _speed
from trainables.datasets import DATASETS
from trainables.datasets.batches import part_of
from trainables.datasets.memory import InMemory
from trainables.evaluation import evaluate
from trainables.outbox import ended, read
from trainables.recording import machine
from trainables.run import run, run_together
from trainables.team import ALONE
from trainables.team.joining import LOOPBACK, leading, take_part
from trainables.team.spawning import Spawned, _work
from trainables.team.whole_batch import Share, whole_batches
from trainables.training import Progress, train

SNIP = Trial(
    dataset="digits", architecture="conv", pruner="snip", compression=10, mode="train", epochs=3, lr=0.05, batch_size=64
)
SHAPES = {"resnet20": (3, 16, 16), "mlp": (1, 8, 8), "with-dropout": (1, 8, 8)}


def network(architecture):
    if architecture != "with-dropout":
        return build(architecture, SHAPES[architecture], 10, seed=0)
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), head)


def curve(architecture, accumulate, team):
    """Losses in float64 of training on 18 images in batches of 8: parts are uneven, and of the last 2 one is empty."""
    model = network(architecture).double()
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(18, *SHAPES[architecture], generator=draw, dtype=torch.float64)
    y = torch.randint(10, (18,), generator=draw)
    parts = [torch.cat(part_of(rows, team.part, accumulate)) for rows in torch.split(torch.arange(18), 8)]
    batches = [(x[rows], y[rows]) for rows in parts]
    losses = []
    train(
        model,
        {},
        Trial(dataset="digits", architecture="mlp", epochs=3, lr=0.05, accumulate=accumulate, label_smoothing=0.1),
        batches=lambda epoch, skip: batches[skip:],
        steps_per_epoch=3,
        evaluate=lambda: evaluate(model, batches, team),
        report=lambda metrics, epoch: losses.extend([metrics["train/loss"], metrics["test/loss"]]),
        state=None,
        save=lambda state: None,
        team=team,
    )
    return losses


def on_bench(team):
    """Losses in float32 of a trial as it is run: channels last, where one worker's batch norms take another way."""
    trial = Trial(dataset="synthetic-32", architecture="resnet20", epochs=2, lr=0.01, batch_size=8)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20, 3, 32, 32), generator=draw, dtype=torch.uint8)
    classes, rows = torch.arange(20) % 10, torch.arange(20)
    data = InMemory(DATASETS["synthetic-32"], classes, classes, rows, rows[:0], train_x=images, test_x=images)
    on = bench(trial, data, torch.device("cpu"), save_seconds=60, team=team)
    if team.rank:
        next(team.orders(on.device))
    losses = []
    told = {"report": lambda metrics, epoch: losses.append(metrics["train/loss"]), "save": lambda state: None}
    on.train({}, state=None, **told)
    return losses


def curves(place, team):
    """Of networks with batch norm, with dropout and gradients added up, and with neither."""
    return [on_bench(team), *(curve(*asked, team) for asked in (("resnet20", 1), ("with-dropout", 2), ("mlp", 1)))]


def test_loss_curves_are_those_of_one_worker(place):
    def launch(seat):
        process = multiprocessing.get_context("spawn").Process(target=take_part, args=(place, seat, curves))
        process.start()
        return Spawned(process)

    with leading(replace(place, workers=3), LOOPBACK, launch) as led:
        together = curves(led, led.team)
    alone = curves(place, ALONE)
    assert together[0] == pytest.approx(alone[0], rel=1e-4)
    for found, expected in zip(together[1:], alone[1:], strict=True):
        assert found == pytest.approx(expected, rel=1e-9)


def numbers(place):
    """Every metric but the times, by key and step."""
    return {
        (key, event["step"]): value
        for event, _ in read(place.storage / SNIP.fingerprint)
        for key, value in event.get("metrics", {}).items()
        if not key.startswith("time/") and key not in ("model/latency_ms", "model/peak_mb")
    }


def test_a_worker_that_is_killed_costs_the_time_since_the_last_checkpoint(place):
    alone = replace(place, storage=place.storage / "alone")
    assert run(SNIP, alone).end == "finished"
    folder, found_at = place.storage / SNIP.fingerprint, []

    def stop():  # asked before the trial and after each epoch
        if len(found_at) < 3:
            state = checkpoint.load(folder / CHECKPOINT, torch.device("cpu"))
            found_at.append(state["progress"]["epoch"] if state else 0)
            if len(found_at) == 3:
                (worker,) = multiprocessing.active_children()
                worker.kill()
        return False

    assert run_together(SNIP, replace(place, workers=2, save_seconds=0), stop).end == "finished"
    assert found_at == [0, 0, 1]
    assert sum("machine" in event.get("tags", {}) for event, _ in read(folder)) == 2  # attempts
    assert numbers(place) == pytest.approx(numbers(alone), rel=1e-3)
    masks = [(at.storage / SNIP.fingerprint / "masks.safetensors").read_bytes() for at in (alone, place)]
    assert masks[0] == masks[1]


def test_what_is_not_to_be_compacted_no_worker_compacts(place):
    measure = {"measure": "imp-conservation", "levels": 1, "pretrain_epochs": 0}
    trial = SNIP.model_copy(update={"pruner": "imp", "compression": 50, "epochs": 1, **measure})
    outcome = run_together(trial, replace(place, workers=2))
    assert outcome.error == ""


def test_what_goes_wrong_with_another_worker_is_the_trials_error(place):
    def launch(seat):
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(replace(place, threads=0), seat))
        process.start()
        return Spawned(process)

    with leading(replace(place, workers=2), LOOPBACK, launch) as led:
        outcome = run(SNIP, led)
    assert outcome.end == "failed"
    assert outcome.error.startswith("WorkerError: worker 1: RuntimeError")
    assert ended(place.storage / SNIP.fingerprint) == "failed"


def test_dropout_of_everything_leaves_nothing():
    with whole_batches(ALONE, Share(start=0, count=3, total=3)):
        assert not nn.Dropout(1.0)(torch.ones(3, 2)).any()


def test_efficiency_is_the_speed_over_as_many_times_that_of_one_worker(place):
    progress = Progress(images=600, image_seconds=2.0)
    cpu = torch.device("cpu")
    known = replace(place, workers=2, alone={SNIP.fingerprint: {machine(cpu): 200.0}})
    assert _speed(known, SNIP, cpu, progress) == {"time/images_per_second": 300, "time/scaling_efficiency": 0.75}
    assert _speed(place, SNIP, cpu, progress) == {"time/images_per_second": 300}
