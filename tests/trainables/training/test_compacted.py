"""The smaller network trained in the masked one's place: the same losses and the same weights, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import nn

from pruners import compact, prunable, prune
from search_spaces import Trial
from search_spaces.network import Network
from trainables.architectures import build
from trainables.architectures.initialisation import initialise
from trainables.training.batch_norm import still_biases
from trainables.training.compacted import CompactedTraining, smaller
from trainables.training.evaluation import evaluate, foldable
from trainables.training.loop import Callbacks, TrainingData, TrainingState, train

SHAPE = (3, 16, 16)
SGD = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "lr": 0.05}
ADAM = {"optimizer": "adam", "weight_decay": 1e-3, "lr": 0.002}


def batches(epoch, skip=0):
    draw = torch.Generator().manual_seed(epoch)
    return [
        (torch.randn(12, *SHAPE, generator=draw).double(), torch.randint(10, (12,), generator=draw)) for _ in range(3)
    ]


def go(model, masks, record, state=None, saves=None, reports=None, until=None):
    network = model.net if isinstance(model, CompactedTraining) else model
    with still_biases(network, foldable(network)):
        told = Callbacks(
            report=lambda metrics, epoch: None if reports is None else reports.append(metrics),
            save=lambda state: None if saves is None else saves.append(copy.deepcopy(state)),
            save_seconds=0,
        )
        data = TrainingData(batches, lambda: evaluate(model, batches(99)))
        train(TrainingState(model, masks, record, 3, state=state), data, told, until)


def trial(**fields):
    return Trial(dataset="cifar10", architecture="conv", epochs=2, lr_schedule="cosine", **fields)


def chain(norm):
    """VGG's layers, in small."""
    layers, before = [], 3
    for width in (8, 16, 32):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width) if norm else nn.Identity()]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        before = width
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 10))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        initialise(model, "synflow")
    return model


def network(name):
    if name == "densenet":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torchvision.models.DenseNet(8, (2, 2), 16, num_classes=10).double()
    if name.startswith("chain"):
        return chain(name.endswith("bn")).double()
    width = {"resnet20": 8, "conv": 16}.get(name)
    return build(Network(name, options=(("width", width),) if width else ()), SHAPE, 10, seed=0).double()


def pruned(name, pruner, compression):
    model = network(name)
    batch = [(batches(0)[0][0], batches(0)[0][1])]
    iterations = 20 if pruner == "synflow" else None
    return model, prune(model, pruner, compression, batch, iterations=iterations)


def same(left, right, names):
    a, b = left.state_dict(), right.state_dict()
    return max(float((a[name] - b[name]).abs().max()) for name in names) < 1e-10


CASES = [
    ("resnet20", "snip", 30, SGD),
    ("resnet20", "synflow", 300, SGD),
    ("resnet20", "synflow", 30, ADAM),
    ("resnet20", "magnitude", 100, SGD),
    ("chain", "synflow", 30, SGD),
    ("chain-bn", "snip", 30, SGD),
    ("chain-bn", "synflow", 30, ADAM),
    ("conv", "snip", 200, SGD),
    ("mlp", "synflow", 50, ADAM),
    ("densenet", "synflow", 20, SGD),
    ("resnet20", "snip", 30, SGD | {"ema": 0.9, "accumulate": 2, "label_smoothing": 0.1, "warmup_epochs": 1}),
]


@pytest.mark.parametrize(("name", "pruner", "compression", "options"), CASES)
def test_the_same_losses_and_weights(name, pruner, compression, options):
    model, masks = pruned(name, pruner, compression)
    alone = copy.deepcopy(model)
    instead, reason = smaller(model, masks, SHAPE)
    assert isinstance(instead, CompactedTraining), reason
    expected, found = [], []
    go(alone, masks, trial(**options), reports=expected)
    go(instead, instead.masks, trial(**options), reports=found)
    instead.finish()
    for left, right in zip(expected, found, strict=True):
        for key in ("train/loss", "train/top1", "test/loss", "test/top1"):
            assert left[key] == pytest.approx(right[key], abs=1e-10)
    assert same(alone, model, dict(model.named_parameters()))
    assert all(not model.get_parameter(key)[~mask].any() for key, mask in masks.items())
    for left, right in zip(evaluate(alone, batches(7)).values(), evaluate(model, batches(7)).values(), strict=True):
        assert left == pytest.approx(right, abs=1e-10)


def test_a_checkpoint_is_the_whole_networks():
    """Paused small and taken up whole, or the other way round: the same numbers."""
    model, masks = pruned("resnet20", "synflow", 100)
    alone, other = copy.deepcopy(model), copy.deepcopy(model)
    expected, small_saves, whole_saves = [], [], []
    go(alone, masks, trial(**SGD), reports=expected, saves=whole_saves)
    instead, _ = smaller(model, masks, SHAPE)
    go(instead, instead.masks, trial(**SGD), saves=small_saves)
    saved = instead.widen(small_saves[0])
    assert {name: tensor.shape for name, tensor in saved["model"].items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }
    resumed = []
    go(other, masks, trial(**SGD), state=saved, reports=resumed)
    assert resumed[-1]["train/loss"] == pytest.approx(expected[-1]["train/loss"], abs=1e-10)
    assert same(alone, other, dict(other.named_parameters()))
    other.load_state_dict(whole_saves[0]["model"])
    again, _ = smaller(other, masks, SHAPE, whole_saves[0])
    go(again, again.masks, trial(**SGD), state=again.narrow(whole_saves[0]), reports=resumed)
    again.finish()
    assert resumed[-1]["train/loss"] == pytest.approx(expected[-1]["train/loss"], abs=1e-10)
    assert same(alone, other, dict(other.named_parameters()))


@pytest.mark.parametrize(("name", "layer"), [("resnet20", -1), ("conv", -1), ("chain-bn", 1), ("chain", 2)])
def test_a_collapsed_network_trains_its_last_bias_with_the_same_bits(name, layer):
    model = network(name)
    masks = prune(model, "random", 2)
    masks[list(masks)[layer]][:] = False
    alone = copy.deepcopy(model)
    instead, _ = smaller(model, masks, SHAPE)
    assert instead.blind
    expected, found = [], []
    go(alone, masks, trial(**SGD), reports=expected)
    go(instead, instead.masks, trial(**SGD), reports=found)
    instead.finish()
    for left, right in zip(expected, found, strict=True):
        assert all(left[key] == right[key] for key in left if not key.startswith("time/"))
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("moved", "norm", "activation", "gone"),
    [
        (None, True, nn.ReLU(), True),
        (None, False, nn.ReLU6(), True),
        ("1.bias", True, nn.ReLU(), False),  # a shift that is not zero trains on
        ("0.bias", False, nn.ReLU(), False),
        ("1.running_mean", True, nn.ReLU(), False),  # a constant in eval mode, for a while
        (None, True, nn.Identity(), False),  # these let a gradient through at zero
        (None, True, nn.SiLU(), False),
        (None, False, nn.LeakyReLU(), False),
    ],
)
def test_a_channel_without_inputs_goes_only_if_training_cannot_wake_it(moved, norm, activation, gone):
    model = chain(norm)
    model[2] = activation
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}
    masks["0.weight"][0] = False
    if moved:
        model.state_dict()[moved][0] = -0.5
    compacted = compact(model, masks, SHAPE, training=True)
    assert not compacted.reason
    assert (len(compacted.kept["0.weight"][0]) == 7) is gone


def test_what_draws_random_numbers_is_trained_as_it_is():
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 9), nn.ReLU(), nn.Dropout(0.5), nn.Linear(9, 10))
    masks = prune(model, "random", 2)
    masks["1.weight"][:5] = False
    assert "random numbers" in smaller(model, masks, SHAPE)[1]


def test_momentum_from_before_the_pruning_is_felt():
    """After a rewind a shift may be zero and about to move: then it is not removed."""
    model, masks = pruned("resnet20", "synflow", 100)
    saves = []
    go(copy.deepcopy(model), {}, trial(**SGD), saves=saves)
    state = saves[0] | {"model": model.state_dict()}
    instead, reason = smaller(model, masks, SHAPE, state)
    assert instead is None and "momentum" in reason


def test_a_network_that_would_stay_as_large_is_trained_as_it_is():
    model, masks = pruned("resnet20", "random", 2)
    assert "multiply-accumulates" in smaller(model, masks, SHAPE)[1]
