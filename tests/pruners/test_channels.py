"""Channels followed through networks worked by hand: which of them can go, which go together, and where it ends."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from smaller_networks import Branching, difference, full, masked, size, stirred
from torch import nn

from pruners import compact, prune
from pruners.channels import UnfollowableError, trace_channels
from pruners.channels.trace import _traced
from trainables.architectures import build

SMALL = (3, 16, 16)


class Ending(nn.Module):
    """Four channels, `end`, and a linear layer on what that makes of them."""

    def __init__(self, end, features=4):
        super().__init__()
        self.layer, self.end, self.head = nn.Conv2d(3, 4, 1), end, nn.Linear(features, 2)

    def forward(self, x):
        return self.head(self.end(self.layer(x)))


@pytest.mark.parametrize(
    ("end", "places"),
    [
        (lambda x: x.flatten(1), 9),
        (lambda x: torch.flatten(x, 1, -1), 9),
        (lambda x: x.view(x.shape[0], -1), 9),
        (lambda x: x.reshape((x.size(0), -1)), 9),
        (lambda x: x.view(x.ndim // x.ndim, -1), 9),
        (lambda x: x.mean((2, 3)), 1),
        (lambda x: x.mean(dim=[2, 3]), 1),
        (lambda x: x.mean((-2, -1), keepdim=True).flatten(1), 1),
    ],
)
def test_features_belong_to_channels(end, places):
    model = Ending(end, 4 * places)
    found = trace_channels(model)
    assert found.inputs[model.head].tolist() == found.outputs[model.layer].repeat_interleave(places).tolist()
    assert len(found.outputs[model.layer].unique()) == 4


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda x: x, "not flattened"),
        (lambda x: x.flatten(2), "what flatten does"),
        (lambda x: x.flatten(1, 2), "what flatten does"),
        (lambda x: x.flatten(), "what flatten does"),
        (lambda x: x.view(x.shape[0], -1, 4), "what view does"),
        (lambda x: x.view(x.shape[0], 4), "what view does"),
        (lambda x: x.mean(), "what mean does"),
        (lambda x: x.mean(0), "what mean does"),
        (lambda x: x.mean((1, 2)), "what mean does"),
        (lambda x: x.mean((2, 3), True), "not flattened"),
        (lambda x: x + x.mean((2, 3)), "different dimension"),
        (lambda x: torch.cat([x, x], 2), "not the channel axis"),
        (lambda x: torch.cat([x, x]), "not the channel axis"),
        (lambda x: x.flatten(1)[:, :3], "what getitem does"),
    ],
)
def test_where_following_ends(end, reason):
    with pytest.raises(UnfollowableError, match=reason):
        trace_channels(Ending(end))


def test_channels_within_a_group_go_together():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 1, groups=2))
    found = trace_channels(model)
    assert [len(found.inputs[model[1]].unique()), len(found.outputs[model[1]].unique())] == [2, 2]


def test_two_layers_of_one_weight_go_together():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[3].weight = model[1].weight
    found = trace_channels(model)
    assert torch.equal(found.inputs[model[1]], found.inputs[model[3]]) and len(found.inputs[model[1]].unique()) == 4
    assert torch.equal(found.outputs[model[1]], found.outputs[model[3]])


def test_a_map_that_all_channels_are_multiplied_by_ties_them():
    gate = nn.Conv2d(4, 1, 1)
    model = Ending(lambda x: (x * model.gate(x).sigmoid()).mean((2, 3)))
    model.gate = gate
    found = trace_channels(model)
    assert {*found.outputs[model.layer].tolist()} == {*found.outputs[gate].tolist()}


def test_a_constant_goes_through_a_method_as_it_was_called():
    model = Ending(lambda x: x.clamp(0.0, 1.0).flatten(1), 16)
    masks = full(model)
    masks["layer.weight"][:3] = False
    model.layer.bias.data = torch.tensor([-1.0, 0.5, 0.0, 2.0])  # 0 and 2 are zero then
    assert compact(model, masks, (3, 2, 2)).kept["layer.bias"][0].tolist() == [1, 3]


def test_a_constant_is_its_own_mean():
    model = nn.Sequential(nn.Conv1d(1, 3, 2), nn.BatchNorm1d(3, affine=False), nn.ReLU(), nn.Conv1d(3, 2, 1))
    masks = full(model)
    masks["0.weight"][1:] = False
    model[0].bias.data = torch.tensor([0.1, 0.5, 0.5])
    model[1].running_mean = torch.tensor([0.0, 0.5, 0.2])  # the third is 0.3 in eval mode
    assert compact(model, masks, (1, 4)).kept["0.bias"][0].tolist() == [0, 2]


def test_a_constant_below_zero_in_both_modes_goes():
    """In eval mode (0 + 1) / 2 * scale - 1, in train mode -1: ReLU makes zeros of both."""
    model = nn.Sequential(nn.Conv1d(1, 3, 1, bias=False), nn.BatchNorm1d(3, eps=0.0), nn.ReLU(), nn.Conv1d(3, 2, 1))
    masks = full(model)
    masks["0.weight"][1:] = False
    model[1].weight.data = torch.tensor([1.0, 1.0, 0.25])
    model[1].bias.data = torch.tensor([0.0, -1.0, -1.0])
    model[1].running_mean, model[1].running_var = torch.full((3,), -1.0), torch.full((3,), 4.0)
    assert compact(model, masks, (1, 4)).kept["0.weight"][0].tolist() == [0]


def test_one_tap_and_one_feature_make_a_channel_matter():
    reader = nn.Conv2d(3, 4, 2, bias=False)
    model = nn.Sequential(nn.Conv2d(1, 3, 1), reader, nn.Flatten(), nn.BatchNorm1d(16), nn.Linear(16, 2))
    masks = full(model)
    masks["1.weight"][1] = masks["4.weight"][:] = False
    masks["1.weight"][1, 2, 0, 0] = masks["4.weight"][0, 5] = True  # 5 is the second feature of channel 1
    compacted = compact(model, masks, (1, 3, 3))
    assert [compacted.kept[f"{layer}.weight"][0].tolist() for layer in (0, 1)] == [[2], [1]]


def test_a_layer_keeps_a_channel_though_none_matters():
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 2))
    assert compact(model, {"0.weight": torch.zeros(1, 2, dtype=torch.bool)}, (2,)).model[0].weight.shape == (1, 2)


def test_hand_worked():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    masks = full(model)
    masks["0.weight"][1:] = False  # 1, 2, 3 hold a constant: their bias
    masks["2.weight"][:, 3] = False  # 3 is never read
    model[0].bias.data = torch.tensor([0.5, -1.0, 2.0, 3.0])  # 1 is zero after ReLU, 2 is not
    compacted = compact(model, masks, (2,))
    first, _, last = compacted.model
    assert first.weight.shape == (2, 2) and last.weight.shape == (2, 2)
    assert first.bias.tolist() == [0.5, 2.0] and (first.out_features, last.in_features) == (2, 2)
    assert compacted.kept["0.weight"][0].tolist() == compacted.kept["2.weight"][1].tolist() == [0, 2]
    assert difference(masked(model, masks), compacted.model, (2,), True) < 1e-6


def test_a_constant_that_only_one_mode_knows_stays():
    """Batch norm makes a dead channel its shift in train mode, but (0 - mean) / deviation + shift in eval mode."""
    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    masks = full(model)
    masks["0.weight"][1:] = False
    model[1].bias.data = torch.tensor([0.0, -1.0, -1.0])
    model[1].running_mean[1] = -5.0
    compacted = compact(model, masks, (1, 2, 2))
    assert compacted.kept["1.bias"][0].tolist() == [0, 1]


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.LeakyReLU()])
def test_activations_that_do_not_end_at_zero(activation):
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), activation, nn.Conv2d(3, 2, 3, padding=1), nn.Flatten())
    masks = full(model)
    masks["0.weight"][1:] = False
    model[0].bias.data = torch.tensor([0.1, 0.0, -2.0])
    compacted = compact(model, masks, (1, 4, 4))
    zero_stays_zero = not isinstance(activation, nn.Sigmoid)
    assert compacted.kept["0.bias"][0].tolist() == ([0, 2] if zero_stays_zero else [0, 1, 2])
    assert difference(masked(model, masks), compacted.model, (1, 4, 4), False) < 1e-6


def test_groups_go_as_a_whole():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 9, 3, groups=3), nn.ReLU(), nn.Conv2d(9, 2, 1))
    masks = full(model)
    masks["4.weight"][:, 3:6] = False  # the second group's outputs are not read
    masks["4.weight"][:, 8] = False  # one of the third's: it has to stay
    small = compact(model, masks, (3, 5, 5)).model
    assert (small[2].groups, small[2].in_channels, small[2].out_channels, small[0].out_channels) == (2, 4, 6, 4)
    assert difference(masked(model, masks), small, (3, 5, 5), True) < 1e-6


class Dropping(nn.Module):
    """A block that training leaves out at random, and an output that only training has, where `extra` is asked for."""

    def __init__(self, draw, extra=False):
        super().__init__()
        self.draw, self.extra = draw, extra
        self.first, self.inner, self.outer = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)
        self.head, self.second = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = self.first(x)
        if not self.training or self.draw() < 0.5:
            x = x + self.outer(self.inner(x).relu())
        x = x.mean((2, 3))
        return self.head(x) + self.second(x) if self.extra and self.training else self.head(x)


DRAWS = {
    "torch": (lambda: torch.rand(()), torch.manual_seed, torch.get_rng_state),
    "python": (random.random, random.seed, random.getstate),
    "numpy": (np.random.rand, np.random.seed, lambda: np.random.get_state()[1:3]),
}


@pytest.mark.parametrize("draw", DRAWS)
def test_blocks_left_out_at_random_are_followed_whatever_is_drawn(draw):
    number, seed, state = DRAWS[draw]
    model = Dropping(number)
    with torch.random.fork_rng():
        for start in range(8):
            seed(start)
            before = str(state())
            found = trace_channels(model)
            assert str(state()) == before
            assert model.training and model.inner.training
            assert len(found.outputs[model.inner].unique()) == 6
            assert found.outputs[model.outer].tolist() == found.outputs[model.first].tolist()


class Noisy(nn.Module):
    """Noise for each channel while it trains, of a width that is written into the forward."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

    def forward(self, x):
        x = self.layer(x)
        if self.training:
            x = x + torch.randn(8, 1, 1)
        return self.head(x.relu().mean((2, 3)))


def test_what_only_training_computes_is_followed_as_well_though_it_draws():
    model = Noisy()
    masks = full(model)
    masks["head.weight"][:, 3:] = False
    whole = compact(model, masks, SMALL)  # without these channels it could no longer train
    assert "outside a torch.nn layer" in whole.reason and size(whole.model) == size(model)
    assert compact(model.eval(), masks, SMALL).kept["layer.weight"][0].tolist() == [0, 1, 2]


def test_the_graph_of_one_model_is_the_same_in_every_process():
    found = []
    with torch.random.fork_rng():
        for start in range(8):
            torch.manual_seed(start)
            model = Dropping(lambda: torch.rand(()))
            found.append([[(node.op, str(node.target)) for node in graph.nodes] for graph in _traced(model)])
    assert len(found[0]) == 2 and all(graphs == found[0] for graphs in found)


def test_what_decides_at_random_and_has_layers_for_training_alone_is_not_followed():
    with pytest.raises(UnfollowableError, match="random numbers decide"):
        trace_channels(Dropping(lambda: torch.rand(()), extra=True))
    with pytest.raises(UnfollowableError, match="random numbers decide"):
        trace_channels(Ending(lambda x: x.mean((2, 3)) if torch.rand(()) < 0.5 else x.amax((2, 3))).eval())


def test_a_residual_stream_is_one_union():
    model = stirred(build("resnet20", SMALL, 10, seed=0))
    masks = full(model)
    readers = [name for name in masks if name.startswith(("blocks.0", "blocks.1", "blocks.2")) and "conv1" in name]
    for name in [*readers, "blocks.3.conv1.weight", "blocks.3.shortcut.0.weight"]:
        masks[name][:, 5] = False  # nobody reads channel 5 of the first stream
    masks["blocks.0.conv1.weight"][:, 6] = False  # one reader of four lets go of channel 6
    compacted = compact(model, masks, SMALL)
    assert compacted.kept["conv.weight"][0].tolist() == [c for c in range(16) if c != 5]
    assert compacted.kept["blocks.2.conv2.weight"][0].tolist() == compacted.kept["conv.weight"][0].tolist()
    assert difference(masked(model, masks), compacted.model, SMALL, True) < 1e-5


def test_shared_layers_stay_shared():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            x = F.relu(self.first(x))
            return self.head(F.relu(self.again(F.relu(self.again(x)))))

    model = Shared()
    masks = full(model)
    masks["again.weight"][:, 2] = masks["head.weight"][:, 2] = False
    compacted = compact(model, masks, (4,))
    assert compacted.model.again.weight.shape == (5, 5)
    assert difference(masked(model, masks), compacted.model, (4,), True) < 1e-6


class Transposing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.layer(x).permute(0, 2, 3, 1).mean((1, 2)))


class NumberedWidth(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 1), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.layer(x).reshape(-1, 16))


@pytest.mark.parametrize(
    ("model", "shape", "reason"),
    [
        (Branching(), (4,), "cannot trace"),
        (Transposing(), (3, 2, 2), "permute"),
        (NumberedWidth(), (3, 2, 2), "reshape"),
        (nn.Sequential(nn.ConvTranspose2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 3)), (3, 2, 2), "ConvTranspose2d"),
    ],
    ids=["branching", "transposing", "numbered-width", "transposed-convolution"],
)
def test_what_cannot_be_followed_is_left_as_it_is(model, shape, reason):
    masks = prune(model, "random", 4)
    compacted = compact(model, masks, shape)
    assert reason in compacted.reason
    assert size(compacted.model) == size(model) and not compacted.kept
    assert difference(masked(model, masks), compacted.model, shape, False) == 0
