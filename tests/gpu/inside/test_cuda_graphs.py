"""Training steps as CUDA graphs: the weights are those of steps made one kernel after the other, bit for bit."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from search_spaces import Trial
from trainables.context import Place
from trainables.randomness import Drawn
from trainables.run import run
from trainables.sparse_training import Dynamics, Latent, dynamics
from trainables.training import cuda_graph
from trainables.training.cuda_graph import WARM, CapturedStep
from trainables.training.loop import Callbacks, TrainingData, TrainingState, train
from trainables.training.optimizer import make_optimizer
from trainables.training.step import Average, Masked, Stepper

SIZES = [8] * (WARM + 3) + [5, 8, 8, 5, 8]  # the last batch of an epoch is smaller
GRAPH = "one CUDA graph"


def network(drop: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(drop), nn.Linear(16, 3)
    return nn.Sequential(*layers).cuda()


def trained(net: nn.Module, graphs: bool, make_dynamics=lambda trial: None, **fields):
    """Return weights, sums, masks and what was told after batches of `SIZES`."""
    trial = Trial(**{"dataset": "digits", "architecture": "mlp", "lr": 0.05} | fields)
    masks = {"0.weight": (torch.arange(96).view(16, 6) % 3 > 0).cuda()}
    rule = make_dynamics(trial)
    if isinstance(rule, Latent):
        masks |= {"4.weight": torch.ones(3, 16, dtype=torch.bool, device="cuda")}
        rule.start(net, masks)
    optimizer = make_optimizer(net, trial, rule.learned if isinstance(rule, Latent) else ())
    masked = Masked(net, optimizer, masks, rule, 0)
    average = Average(net, trial.ema, masks, {}) if trial.ema else None
    told: list[str] = []
    step = Stepper(net, optimizer, masked, trial, average)
    step = CapturedStep(step, net, masked.changes, told.append) if graphs else step
    draw, dropout, sums = torch.Generator().manual_seed(1), Drawn(0, "dropout"), []
    net.train()
    for number, size in enumerate(SIZES):
        optimizer.param_groups[0]["lr"].fill_(0.05 / (1 + number))
        x, y = torch.randn(size, 6, generator=draw).cuda(), torch.randint(3, (size,), generator=draw).cuda()
        with dropout.piece():
            sums.append(step(x, y).tolist())
    state = net.state_dict() | (average.state_dict() if average else {})
    return state, sums, masks, told, masked.steps


def same(a, b) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


class Swap(Dynamics):
    """Two weights change places after the third and the tenth step; the tenth is a replayed one."""

    compression = 2.0

    def update(self, step, masks, model):
        if step not in (3, 10):
            return None
        slopes = model[0].weight.grad.abs()  # of that very step
        mask = masks["0.weight"].clone()
        mask.view(-1)[slopes.masked_fill(~mask, torch.inf).argmin()] = False
        mask.view(-1)[slopes.masked_fill(mask, -1).argmax()] = True
        return {"0.weight": mask}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "adam"},
        {"optimizer": "adamw"},
        {"optimizer": "rmsprop"},
        {"nesterov": True, "label_smoothing": 0.1},
        {"ema": 0.9, "accumulate": 2},
        {"precision": "bfloat16"},
        {"precision": "tf32"},
    ],
    ids=str,
)
@pytest.mark.parametrize("drop", [0.0, 0.5])
@pytest.mark.parametrize("changing", [False, True])
def test_graphs_train_what_python_trains(fields, drop, changing):
    make = (lambda trial: Swap()) if changing else (lambda trial: None)
    plain = trained(network(drop), False, make, **fields)
    graphs = trained(network(drop), True, make, **fields)
    assert graphs[3] == [GRAPH] * 2  # one for each size
    assert same(graphs[0], plain[0])
    assert graphs[1] == plain[1]
    assert same(graphs[2], plain[2])
    assert graphs[4] == plain[4] == len(SIZES)
    assert (graphs[0]["0.weight"][~graphs[2]["0.weight"]] == 0).all()


@pytest.mark.parametrize("name", ["str", "top-kast"])
def test_what_the_forward_pass_sees_is_part_of_the_graph(name):
    options = {"str": {"end": 0.5, "initial": -3.0}, "top-kast": {"interval": 4}}[name]
    fields = {"pruner": name, "scope": "layer", "compression": 3, "epochs": 1, "options": options, "momentum": 0.9}
    plain, graphs = (trained(network(), captured, lambda t: dynamics(t, 14), **fields) for captured in (False, True))
    assert graphs[3] == [GRAPH] * 2
    assert same(graphs[0], plain[0]) and same(graphs[2], plain[2])
    assert graphs[1] == plain[1]
    assert not same(graphs[2], {"0.weight": (torch.arange(96).view(16, 6) % 3 > 0).cuda()})  # masks have changed


def test_a_step_is_one_launch_of_a_graph_and_nobody_waits():
    net, trial = network(), Trial(dataset="digits", architecture="mlp", lr=0.05)
    optimizer = make_optimizer(net, trial)
    masked = Masked(net, optimizer, {"0.weight": torch.ones(16, 6, dtype=torch.bool, device="cuda")}, None, 0)
    plain = Stepper(net, optimizer, masked, trial)
    step = CapturedStep(plain, net, False, lambda how: None)
    x, y = torch.randn(8, 6).cuda(), torch.randint(3, (8,)).cuda()
    for _ in range(WARM + 1):
        step(x, y)
    import pretended_gpu  # it needs torch first

    with pretended_gpu.counting() as eager:
        plain(x, y)
    with pretended_gpu.counting() as counts:
        for _ in range(10):
            step(x, y)
    assert counts.graph_launches == 10
    assert sum(counts.launches.values()) == 20, counts  # the images and their classes
    assert sum(eager.launches.values()) > 20
    assert not counts.synchronizations and not eager.synchronizations


def test_what_draws_on_the_host_is_not_captured():
    class Skips(nn.Module):
        def forward(self, x):
            return x if random.random() < 0.5 else 2 * x

    net = nn.Sequential(*network(), Skips()).cuda()
    _, _, _, told, steps = trained(net, True)
    assert told == ["step by step: the network draws random numbers on the host"]
    assert steps == len(SIZES)


def test_what_waits_for_the_gpu_is_not_captured_and_trains_all_the_same():
    class Looks(nn.Module):
        def forward(self, x):
            return x if bool(x.isfinite().all()) else 0 * x

    made = [nn.Sequential(*network(), Looks()).cuda() for _ in range(2)]
    plain, graphs = trained(made[0], False), trained(made[1], True)
    assert len(graphs[3]) == 1 and graphs[3][0].startswith("step by step: ")
    assert same(graphs[0], plain[0])
    assert graphs[1] == plain[1]


def test_a_graph_without_memory_is_given_up_and_the_trial_goes_on(monkeypatch):
    """Only capturing runs out of memory: torch takes a graph's memory anew."""
    plain = trained(network(), False)
    real = torch.cuda.CUDAGraph.capture_end

    def full(graph):
        real(graph)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda.CUDAGraph, "capture_end", full)
    graphs = trained(network(), True)
    assert graphs[3] == ["step by step: OutOfMemoryError: CUDA out of memory"]
    assert same(graphs[0], plain[0])


def test_a_graph_gives_its_memory_to_a_test_that_needs_it(tmp_path):
    trial = Trial(dataset="digits", architecture="mlp", epochs=2, lr=0.05, batch_size=8)
    net, told, tests = network(), [], []

    def evaluate():
        tests.append(len(told))
        if len(tests) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"loss": 1.0, "top1": 0.5}

    batch = torch.randn(8, 6).cuda(), torch.arange(8).cuda() % 3
    progress = train(
        TrainingState(net, {}, trial, 6, tell=lambda what, how: told.append(f"{what}: {how}")),
        TrainingData(lambda epoch, skip: [batch] * 6, evaluate),
        Callbacks(lambda metrics, epoch: None, lambda state: None),
    )
    assert progress.epoch == 2
    assert told == [f"stepped: {GRAPH}", "stepped: step by step: testing needs the memory of a CUDA graph"]
    assert tests == [1, 2, 2]


@pytest.mark.parametrize("kind", ["sgd", "adam", "set", "ema", "str", "top-kast"])
def test_interrupted_and_resumed_is_as_in_one_go(tmp_path, kind):
    fields = {
        "sgd": {}, "adam": {"optimizer": "adam", "lr": 0.001}, "ema": {"ema": 0.9, "warmup_epochs": 1},
        "set": {"pruner": "set", "mode": "eval", "options": {"interval": 5}},
        "str": {"pruner": "str", "options": {"end": 0.5}},
        "top-kast": {"pruner": "top-kast", "scope": "layer", "options": {"interval": 5}},
    }[kind]  # fmt: skip
    base = {
        "dataset": "digits",
        "architecture": "mlp",
        "pruner": "snip",
        "compression": 10,
        "epochs": 3,
        "samples_per_class": 2,
    }
    trial = Trial(**base | fields)
    whole = Place(tmp_path / "whole", tmp_path / "data", device="cuda")
    assert run(trial, whole).end == "finished"
    broken = Place(tmp_path / "broken", tmp_path / "data", device="cuda", save_seconds=0)
    asked = iter([False, False, True])
    assert run(trial, broken, lambda: next(asked)).end == "interrupted"
    assert run(trial, broken).end == "finished"
    files = [place.storage / trial.fingerprint / "weights.safetensors" for place in (whole, broken)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_checkpoint_of_a_cpu_is_gone_on_with_in_a_graph(tmp_path):
    trial = Trial(dataset="digits", architecture="mlp", optimizer="adam", lr=0.001, epochs=3)
    there = Place(tmp_path / "there", tmp_path / "data", save_seconds=0)
    asked = iter([False, False, True])
    assert run(trial, there, lambda: next(asked)).end == "interrupted"
    assert run(trial, Place(tmp_path / "there", tmp_path / "data", device="cuda")).end == "finished"
    text = (tmp_path / "there" / trial.fingerprint / "outbox.jsonl").read_text()
    assert GRAPH in text and "step by step" not in text
    assert cuda_graph.WARM == WARM
    assert dynamics(trial, 12) is None
