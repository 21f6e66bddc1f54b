"""Several workers on one trial: the numbers of one worker, and none of them left over or missed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import pytest
import torch
import torch.distributed as dist
from timed_metrics import TIMED
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torchvision.ops import StochasticDepth

from search_spaces import Trial
from trainables import datasets
from trainables.architectures import build
from trainables.artifacts import machine
from trainables.datasets import DATASETS
from trainables.datasets.batches import part_of
from trainables.datasets.memory import InMemory
from trainables.distributed import ALONE, LostError, Team, WorkerError
from trainables.distributed.checkpoint_schedule import GROWTH, CheckpointSchedule
from trainables.distributed.sync_layers import Share, whole_batches
from trainables.launch import LOOPBACK, WorkerProcess, _work, backend_for, leading, own_device, take_part
from trainables.phases import _speed
from trainables.record import checkpoint
from trainables.record.checkpoint import CHECKPOINT
from trainables.record.event_log import ended, read
from trainables.record.predictions import PREDICTIONS, read_predictions
from trainables.run import TrialOutcome, run, run_together
from trainables.training.evaluation import PredictionRecorder, evaluate
from trainables.training.loop import Callbacks, EpochProgress, TrainingData, TrainingState, train
from trainables.training.trainer import make_trainer

SNIP = Trial(
    dataset="digits", architecture="conv", pruner="snip", compression=10, mode="train", epochs=3, lr=0.05, batch_size=64
)
SHAPES = {"resnet20": (3, 16, 16), "mlp": (1, 8, 8), "with-dropout": (1, 8, 8), "with-depth": (1, 8, 8)}


class Unsteady(nn.Module):
    """Uses a layer for the images of the first micro-batch alone, and another one never."""

    def __init__(self):
        super().__init__()
        self.always, self.sometimes, self.never = (nn.Linear(256, 256) for _ in range(3))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.calls += self.training
        return self.sometimes(self.always(x)) if self.calls % 2 else self.always(x)


def network(architecture):
    if not architecture.startswith("with"):
        return build(architecture, SHAPES[architecture], 10, seed=0)
    torch.manual_seed(0)
    head = nn.Sequential(nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    if architecture == "with-depth":
        head = nn.Sequential(StochasticDepth(0.5, "row"), nn.Flatten(), Unsteady(), nn.Linear(256, 10))
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), head)


def curve(architecture, accumulate, team):
    """Losses in float64 of training on 18 images in batches of 8: parts are uneven, and of the last 2 one is empty."""
    model = network(architecture).double()
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(18, *SHAPES[architecture], generator=draw, dtype=torch.float64)
    y = torch.randint(10, (18,), generator=draw)
    wholes = torch.split(torch.arange(18), 8)
    parts = [torch.cat(part_of(rows, team.part, accumulate)) for rows in wholes]
    batches = [(x[part], y[rows]) for part, rows in zip(parts, wholes, strict=True)]
    tested = [(x[part], y[part]) for part in parts]
    losses = []
    trial = Trial(dataset="digits", architecture="mlp", epochs=3, lr=0.05, accumulate=accumulate, label_smoothing=0.1)
    train(
        TrainingState(model, {}, trial, 3, team=team),
        TrainingData(lambda epoch, skip: batches[skip:], lambda: evaluate(model, tested, team)),
        Callbacks(
            lambda metrics, epoch: losses.extend([metrics["train/loss"], metrics["test/loss"]]), lambda state: None
        ),
    )
    return losses


def on_bench(team):
    """Losses in float32 of a trial as it is run: channels last, where one worker's batch norms take another way."""
    trial = Trial(dataset="synthetic-32", architecture="resnet20", epochs=2, lr=0.01, batch_size=8)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (20, 3, 32, 32), generator=draw, dtype=torch.uint8)
    classes, rows = torch.arange(20) % 10, torch.arange(20)
    data = InMemory(DATASETS["synthetic-32"], classes, classes, rows, rows[:0], train_x=images, test_x=images)
    on = make_trainer(trial, data, torch.device("cpu"), save_seconds=60, team=team)
    if team.rank:
        next(team.orders(on.device))
    losses = []
    told = {"report": lambda metrics, epoch: losses.append(metrics["train/loss"]), "save": lambda state: None}
    on.train({}, state=None, **told)
    return losses


def curves(place, team):
    """Of networks with batch norm, with draws and gradients added up, and with neither."""
    asked = ("resnet20", 1), ("with-dropout", 2), ("with-depth", 2), ("mlp", 1)
    return [on_bench(team), *(curve(architecture, accumulate, team) for architecture, accumulate in asked)]


def collectives(accumulate, team):
    """By name, how often this worker asks for each in a step of ResNet-20, once DDP has put its buckets in order."""
    trial = Trial(dataset="digits", architecture="resnet20", lr=0.05, accumulate=accumulate)
    model = network("resnet20")
    standing = TrainingState(model, {}, trial, 4, None, None, team)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(16, *SHAPES["resnet20"], generator=draw), torch.arange(16) % 10
    own = x[torch.cat(part_of(torch.arange(16), team.part, accumulate))]
    for _ in range(2):
        standing.step(own, y)
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        standing.step(own, y)
    return Counter(event.name for event in watched.events() if event.name.startswith("c10d::"))


def counted(place, team):
    return [collectives(1, team), collectives(4, team)]


def by_all(place, workers, work):
    """What `work` gives the first of so many workers."""

    def launch(seat):
        process = multiprocessing.get_context("spawn").Process(target=take_part, args=(place, seat, work))
        process.start()
        return WorkerProcess(process)

    with leading(replace(place, workers=workers), LOOPBACK, launch) as led:
        return work(led, led.team)


@pytest.mark.slow
def test_loss_curves_are_those_of_one_worker(place):
    together, alone = by_all(place, 3, curves), curves(place, ALONE)
    assert together[0] == pytest.approx(alone[0], rel=1e-4)
    for found, expected in zip(together[1:], alone[1:], strict=True):
        assert found == pytest.approx(expected, rel=1e-11)


@pytest.mark.slow
def test_a_step_has_one_collective_per_norm_and_direction_and_reduces_gradients_once(place):
    """This ResNet-20 has 21 norms, two of them in shortcuts; its gradients fill two of DDP's buckets."""
    once, in_four = by_all(place, 2, counted)
    assert once == {"c10d::_allgather_base_": 21, "c10d::allreduce_": 21 + 2}
    assert in_four == {"c10d::_allgather_base_": 4 * 21, "c10d::allreduce_": 4 * 21 + 2}


def numbers(place):
    """Every metric but the times, by key and step."""
    return {
        (key, event["step"]): value
        for event, _ in read(place.storage / SNIP.fingerprint)
        for key, value in event.get("metrics", {}).items()
        if key not in {*TIMED, "model/peak_mb"}
    }


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
@pytest.mark.slow
def test_a_worker_that_ends_or_hangs_costs_the_time_since_the_last_checkpoint(place, monkeypatch, ending):
    for timeout in ("START", "STEP"):  # what the first worker waits for a hung one
        monkeypatch.setattr(f"trainables.training.state.{timeout}", timedelta(seconds=20))
    monkeypatch.setattr("trainables.distributed.group.NOTICE_SECONDS", 1.0)
    alone = replace(place, storage=place.storage / "alone")
    assert run(SNIP, alone).end == "finished"
    folder, found_at = place.storage / SNIP.fingerprint, []

    def stop():  # asked before the trial, after some of its steps, and after each epoch
        state = None if found_at else checkpoint.load(folder / CHECKPOINT, torch.device("cpu"))
        if state and state["progress"]["epoch"] == 1:
            found_at.append(1)
            (worker,) = multiprocessing.active_children()
            os.kill(worker.pid, ending)
        return False

    assert run_together(SNIP, replace(place, workers=2, save_seconds=0), stop).end == "finished"
    assert found_at == [1]
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
        return WorkerProcess(process)

    with leading(replace(place, workers=2), LOOPBACK, launch) as led:
        outcome = run(SNIP, led)
    assert outcome.end == "failed"
    assert outcome.error.startswith("WorkerError: worker 1: RuntimeError")
    assert ended(place.storage / SNIP.fingerprint) == "failed"


def test_dropout_of_everything_leaves_nothing():
    with whole_batches(ALONE, Share(start=0, count=3, total=3)):
        assert not nn.Dropout(1.0)(torch.ones(3, 2)).any()


def test_efficiency_is_the_speed_over_as_many_times_that_of_one_worker(place):
    progress = EpochProgress(images=600, image_seconds=2.0)
    cpu = torch.device("cpu")
    known = replace(place, workers=2, alone={SNIP.fingerprint: {machine(cpu): 200.0}})
    assert _speed(known, SNIP, cpu, progress) == {"time/images_per_second": 300, "time/scaling_efficiency": 0.75}
    assert _speed(place, SNIP, cpu, progress) == {"time/images_per_second": 300}


@pytest.mark.slow
def test_stopped_in_the_middle_of_an_epoch_two_workers_compute_the_same(place, monkeypatch):
    through = replace(place, storage=place.storage / "through", workers=2)
    assert run_together(SNIP, through).end == "finished"
    monkeypatch.setattr("trainables.training.loop.LONG", 0)  # of the first worker alone: it says when all ask
    stopped, asked = replace(place, storage=place.storage / "stopped", workers=2), []
    assert run_together(SNIP, stopped, lambda: asked.append(1) or len(asked) > 5) == TrialOutcome("interrupted")
    state = checkpoint.load(stopped.storage / SNIP.fingerprint / CHECKPOINT, torch.device("cpu"))
    assert (state["progress"]["epoch"], state["begun"]["batches"], state["begun"]["images"]) == (0, 5, 5 * 64)
    assert run_together(SNIP, stopped).end == "finished"
    assert numbers(stopped) == numbers(through)
    kept = [(at.storage / SNIP.fingerprint / PREDICTIONS).read_bytes() for at in (stopped, through)]
    assert kept[0] == kept[1]
    predictions = read_predictions(kept[0])
    assert predictions.top1.mean() == numbers(through)["final/top1", 0]
    assert (
        (predictions.classes == datasets.load("digits", None, place.cache).test_y.numpy()) == predictions.top1
    ).all()


def answers(place, team):
    """Whether an image is right and its class, of seven images of which each worker tests a part."""
    logits, y = torch.eye(7), torch.tensor([0, 1, 2, 0, 0, 5, 6])
    recorder = PredictionRecorder()
    (rows,) = part_of(torch.arange(7), team.part)
    evaluate(nn.Identity(), [(logits[part], y[part]) for part in torch.split(rows, 2)], team, recorder)
    found = recorder.result("d", "")
    return found.top1.tolist(), found.classes.tolist()


@pytest.mark.slow
def test_the_predictions_of_all_workers_are_in_the_order_of_the_images(place):
    assert by_all(place, 3, answers) == ([True, True, True, False, False, True, True], list(range(7)))


@dataclass
class Steps:
    """A clock that each step moves."""

    seconds: float = 0.0

    def monotonic(self):
        return self.seconds


def test_workers_ask_at_the_same_steps_about_every_five_seconds(monkeypatch):
    clock, store = Steps(), dist.HashStore()
    monkeypatch.setattr("trainables.distributed.checkpoint_schedule.time", clock)
    workers = [CheckpointSchedule(Team(rank, 2, store), 5.0) for rank in (0, 1)]
    asked = []
    for step in range(1, 2001):
        clock.seconds += 0.01 if step < 1000 else 0.1
        due = [worker.is_due() for worker in workers]
        assert due[0] == due[1]
        if due[0]:
            asked.append(step)
            assert [
                worker.agree(stop=not rank and step == 85, save=bool(rank)) for rank, worker in enumerate(workers)
            ] == [(step == 85, step == 85)] * 2
            for worker in workers:
                worker.begin()
    # After 1 step, then 4 times as many each time, until 500 steps of 10 ms take 5 s; then 50 of 100 ms do.
    assert asked[:6] == [1, 1 + GROWTH, 21, 85, 341, 841]
    assert asked[6] == 1341  # asked for while steps took 10 ms: the first 159 of these 500 did
    assert {after - before for before, after in pairwise(asked[7:])} <= {49, 50}  # as rounding has it


@dataclass
class Ended:
    """A worker, as who started it sees it."""

    over: bool
    killed: list = field(default_factory=list)

    def ended(self, seconds):
        return self.over

    def kill(self):
        self.killed.append(1)


def team_of(*over):
    return Team(0, 1 + len(over), dist.HashStore(), tuple(map(Ended, over)))


SILENT = RuntimeError("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 120000ms for recv operation")
CLOSED = RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:58015")


@pytest.mark.parametrize(
    ("seen", "over", "line"),
    [
        (SILENT, [False], "worker 1 of 2 no longer answers"),
        (SILENT, [True, False], "worker 2 of 3 no longer answers"),  # the other one waited in vain too
        (CLOSED, [True, False], "1 of 3 workers died"),
        (RuntimeError("Application timeout caused pair closure"), [True], "1 of 2 workers died"),
        (dist.DistBackendError("NCCL communicator was aborted on rank 0."), [True], "1 of 2 workers died"),
    ],
)
def test_a_worker_that_is_gone_or_silent_is_named_in_one_line(seen, over, line):
    with pytest.raises(LostError, match=f"^{line}$"):
        team_of(*over).blame(seen)


def test_an_error_of_the_trial_stays_its_error():
    own = RuntimeError("shape '[2]' is invalid for input of size 3")
    assert team_of(False).blame(own) is own
    team = team_of(True)
    Team(1, 2, team.store).failed(SILENT, works=True)  # that another one is silent is no fault of this one's
    with pytest.raises(LostError):
        team.blame(CLOSED)
    Team(1, 2, team.store).failed(own, works=True)
    fault = team.blame(CLOSED)
    assert (type(fault), str(fault)) == (WorkerError, f"worker 1: RuntimeError: {own}")
    with pytest.raises(WorkerError):
        team.assemble()


def test_gpus_speak_through_nccl_unless_the_environment_says_gloo(place, monkeypatch):
    gpu, cpu = torch.device("cuda", 1), torch.device("cpu")
    assert (backend_for(cpu), backend_for(gpu)) == (
        "gloo",
        "cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo",
    )
    monkeypatch.setenv("TEAM_BACKEND", "gloo")
    assert backend_for(gpu) == "gloo"
    assert [str(own_device(replace(place, device=name))) for name in ("cpu", "cuda", "cuda:1")] == [
        "cpu",
        "cuda:0",
        "cuda:1",
    ]
