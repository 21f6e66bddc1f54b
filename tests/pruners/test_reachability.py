"""Paths from input to output, worked by hand, and the networks whose weights never meet anything but padding."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from pruners import connected, dead_weights, effective, prunable, prune
from trainables.architectures import build

T, F = True, False


def two_layers():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def test_only_weights_on_a_path_from_input_to_output_count():
    masks = {
        "0.weight": torch.tensor([[T, F], [F, F], [T, T]]),  # hidden 1 is never reached
        "2.weight": torch.tensor([[T, T, F]]),  # hidden 2 is never read
    }
    found = effective(two_layers(), masks, (2,))
    assert found["0.weight"].tolist() == [[T, F], [F, F], [F, F]]
    assert found["2.weight"].tolist() == [[T, F, F]]


def test_a_bias_opens_no_path():
    masks = {"0.weight": torch.zeros(3, 2, dtype=torch.bool), "2.weight": torch.ones(1, 3, dtype=torch.bool)}
    model = two_layers()
    model[0].bias.data.fill_(1.0)
    assert not connected(model, masks, (2,))
    assert not any(mask.any() for mask in effective(model, masks, (2,)).values())


def test_signs_and_sizes_do_not_matter():
    model = two_layers()
    for value in (-1e30, 1e-30, 0.0):
        for parameter in model.parameters():
            parameter.data.fill_(value)
        assert connected(model, {}, (2,))


def test_a_shortcut_is_a_path():
    model = build("resnet20", (3, 8, 8), 10, seed=0)
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if p.dim() > 1}
    masks["blocks.0.conv2.weight"][:] = False
    found = effective(model, masks, (3, 8, 8))
    assert connected(model, masks, (3, 8, 8))
    assert not found["blocks.0.conv1.weight"].any() and found["conv.weight"].all()


def emptied(model, *names):
    return {
        name: torch.full_like(weight, name not in {f"{empty}.weight" for empty in names}, dtype=torch.bool)
        for name, weight in prunable(model).items()
    }


@pytest.mark.parametrize("name", ["mlp", "conv", "vgg16-bn"])
def test_where_layers_follow_each_other_any_empty_one_cuts(name):
    model = build(name, (3, 16, 16), 10, seed=0)
    assert connected(model, {}, (3, 16, 16))
    for weight in prunable(model):
        assert not connected(model, emptied(model, weight.removesuffix(".weight")), (3, 16, 16)), weight


@pytest.mark.parametrize(
    ("empty", "reached"),
    [
        (["blocks.3.shortcut.0"], True),  # the block's own convolutions go round it
        (["blocks.0.conv1"], True),  # the identity does
        (["blocks.3.conv2"], True),  # the shortcut convolution does
        ([f"blocks.{i}.conv{j}" for i in range(9) for j in (1, 2)], True),  # the identities and the two shortcuts
        (["blocks.3.shortcut.0", "blocks.3.conv1"], False),
        (["conv"], False),
        (["fc"], False),
    ],
)
def test_in_a_residual_network_only_what_has_no_way_round(empty, reached):
    model = build("resnet20", (3, 8, 8), 10, seed=0)
    assert connected(model, emptied(model, *empty), (3, 8, 8)) is reached


def test_ways_round_in_other_networks():
    densenet = torchvision.models.DenseNet(8, (2, 2), 16, num_classes=3)
    assert connected(densenet, emptied(densenet, "features.denseblock1.denselayer2.conv2"), (3, 32, 32))
    assert not connected(densenet, emptied(densenet, "features.transition1.conv"), (3, 32, 32))
    mobile = torchvision.models.mobilenet_v3_small(num_classes=3)
    assert connected(mobile, emptied(mobile, "features.1.block.1.fc1"), (3, 32, 32))  # a gate that stays half open
    assert not connected(mobile, emptied(mobile, "features.1.block.2.0"), (3, 32, 32))


def test_constants_are_no_input():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1))
    assert not connected(model, emptied(model, "0"), (2,))  # what the sigmoid makes of zeros is one half
    transformer = torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=3)
    assert connected(transformer, {}, (3, 32, 32))
    assert not connected(transformer, emptied(transformer, "conv_proj"), (3, 32, 32))  # the class token still speaks


def test_what_is_not_used_is_on_no_path():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.aside, self.layer = nn.Linear(2, 2), nn.Linear(2, 1)

        def forward(self, x):
            return self.layer(torch.ones_like(x))

    assert not connected(Deaf(), {}, (2,))
    assert not effective(Deaf(), {}, (2,))["aside.weight"].any()


def test_a_scale_lets_all_pass_whatever_its_value():
    class Scaled(nn.Linear):
        def __init__(self):
            super().__init__(2, 3)
            self.scale = nn.Parameter(torch.zeros(3))

        def forward(self, x):
            return super().forward(x) * self.scale

    assert connected(Scaled(), {}, (2,))


def test_batch_norm_spreads_within_a_channel():
    # Of a 1x1 image padded to 3x3 the middle alone is seen, and by the second channel alone.
    model = nn.Sequential(nn.Conv2d(1, 2, 1, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 3))
    found = effective(model, {"0.weight": torch.tensor([F, T]).view(2, 1, 1, 1)}, (1, 1, 1))["2.weight"]
    assert not found[0, 0].any() and found[0, 1].all()


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_bias_of_a_convolution_opens_no_path(axes):
    layer, back = getattr(nn, f"Conv{axes}d"), getattr(nn, f"ConvTranspose{axes}d")
    model = nn.Sequential(layer(1, 1, 1), back(1, 1, 1), layer(1, 1, 1))
    assert effective(model, {}, (1, *[2] * axes))["2.weight"].all()
    assert not effective(model, emptied(model, "0"), (1, *[2] * axes))["2.weight"].any()


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("pool", "size"), [("max_pool", 2), ("adaptive_max_pool", 1)])
def test_every_place_that_a_maximum_is_taken_of_counts(axes, pool, size):
    class Pooled(nn.Linear):
        def forward(self, x):
            home = torch if pool == "max_pool" else nn.functional
            return getattr(home, f"{pool}{axes}d")(super().forward(x).view(1, 1, *[3] * axes), size)

    found = effective(Pooled(1, 3**axes), {}, (1,))["weight"].view([3] * axes)
    windows = found[(slice(2),) * axes] if pool == "max_pool" else found  # two of three fit in
    assert windows.all() and int(found.sum()) == windows.numel()


def test_a_model_may_change_its_input_in_place():
    class Shifting(nn.Linear):
        def forward(self, x):
            x += 1
            return super().forward(x)

    assert connected(Shifting(2, 1), {}, (2,))


def test_padding_alone_trains_nothing():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(1, 2))
    dead = dead_weights(model, (1, 1, 1))
    assert dead["0.weight"].flatten().tolist() == [T, T, T, T, F, T, T, T, T]  # a 1x1 image meets the middle only
    assert not dead["2.weight"].any()


def share(masks):
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def test_imagenet_stems_on_small_images():
    """The measured 62.2 % of ResNet-18 with ten classes: its last stage sees maps one pixel wide."""
    resnet18 = torchvision.models.resnet18(num_classes=10)
    assert share(dead_weights(resnet18, (3, 32, 32))) == pytest.approx(0.622, abs=0.001)
    assert share(dead_weights(resnet18, (3, 64, 64))) < 0.002
    resnet18.conv1, resnet18.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    assert share(dead_weights(resnet18, (3, 32, 32))) == 0


@pytest.mark.parametrize("name", ["mlp", "conv", "resnet20", "vgg16-bn"])
def test_the_projects_own_networks_are_alive(name):
    assert share(dead_weights(build(name, (3, 32, 32), 10, seed=0), (3, 32, 32))) == 0


def test_saturation_pooling_and_gates_do_not_hide_a_path():
    model = torchvision.models.mobilenet_v3_small(num_classes=10)
    assert share(dead_weights(model, (3, 128, 128))) == 0
    model = nn.Sequential(nn.MaxPool2d(2), nn.ReLU6(), nn.Conv2d(1, 1, 2), nn.Flatten(), nn.LogSoftmax(1))
    assert share(dead_weights(model, (1, 4, 4))) == 0


@pytest.mark.parametrize(("pruner", "compression"), [("random", 100), ("magnitude", 100), ("random", 2000)])
def test_agrees_with_gradients_of_positive_data(pruner, compression):
    """In a net of absolute weights without normalisation nothing cancels: live weights have gradients, others none."""
    shape = (1, 8, 8)
    model = build("conv", shape, 10, seed=0)
    masks = prune(model, pruner, compression, scope="layer")
    weights = {}
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.abs().double() * masks[name] if name in masks else parameter.data.double() * 0
        weights[name] = parameter
    model(torch.rand(4, *shape, dtype=torch.float64) + 0.1).sum().backward()
    for name, found in effective(model, masks, shape).items():
        assert torch.equal(found, (weights[name].grad > 0) & masks[name])


def test_the_model_is_left_as_it_was(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.get_rng_state()
    effective(model, {}, (3, 4, 4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
