"""What every registered architecture keeps to. Deep members of a family are checked without numbers in them."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

from pruners import dead_weights, prunable
from pruners.channels import UnfollowableError, trace_channels
from search_spaces import Network
from trainables.architectures import ARCHITECTURES, build
from trainables.architectures.architecture import Architecture
from trainables.architectures.vision_transformers import swin, vit


def form(name):
    """What it has in common with those of its family that differ in depth alone."""
    make = ARCHITECTURES[name].make
    if make in (vit, swin) or getattr(make, "func", None) is vit:
        return getattr(make, "func", make), ""  # one that is twice as wide adds nothing but minutes
    return getattr(make, "func", make), re.sub(r"\d+", "", name)


# The first of each form, so that what is registered is tested; and a bottleneck, which comes with depth.
EACH = (*{form(name): name for name in reversed(ARCHITECTURES)}.values(), "resnet50-cifar")


def shape_of(name):
    side = max(64 if ARCHITECTURES[name].weights else 32, ARCHITECTURES[name].min_size)
    return 3, side, side


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if "1202" not in name])
def test_has_a_line_and_is_followed_in_all_its_layers_or_not_at_all(name):
    summary = ARCHITECTURES[name].summary
    assert summary and "\n" not in summary
    with torch.device("meta"):
        model = build(name, shape_of(name), 10, seed=0)
    names = {id(weight): key for key, weight in prunable(model).items()}
    try:
        channels = trace_channels(model)
    except UnfollowableError as error:
        pytest.skip(f"weights of {name} are pruned, but no channel of it can be removed: {error}")
    assert {names[id(layer.weight)] for layer in channels.inputs} == set(names.values())


@pytest.mark.parametrize("name", EACH)
def test_weights_are_a_function_of_the_seed(name):
    torch.manual_seed(1)
    first = build(name, shape_of(name), num_classes=10, seed=3).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = build(name, shape_of(name), num_classes=10, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = build(name, shape_of(name), num_classes=10, seed=4).state_dict()
    assert not any(torch.equal(first[key], other[key]) for key in first if first[key].dim() > 1)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("channels", [1, 3])
def test_runs_in_train_and_in_eval_mode_and_its_size_leaves_nothing_dead(name, channels):
    shape = (channels, *shape_of(name)[1:])
    model = build(name, shape, num_classes=10, seed=0)
    assert model.training
    for training in (True, False):
        assert model.train(training)(torch.randn(2, *shape)).shape == (2, 10)
    assert model(torch.randn(2, *shape)).isfinite().all()
    assert not any(dead.any() for dead in dead_weights(model, shape).values())


def size(network):
    """How many parameters it has."""
    with torch.device("meta"):
        return sum(p.numel() for p in build(network, shape_of(network.name), 10, seed=0).parameters())


@pytest.mark.parametrize("name", [name for name in EACH if ARCHITECTURES[name].options])
def test_options_default_to_the_name(name):
    options = ARCHITECTURES[name].options
    assert size(Network(name, tuple(options.items()))) == size(Network(name))
    if "width" in options:
        assert size(Network(name, (("width", 2 * options["width"]),))) > size(Network(name))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Network("mlp", (("depth", 0),)), "depth 0 is not allowed; it must be above 0"),
        (
            Network("resnet18-cifar", (("width", 96),)),
            "a width of 96 is not allowed for ResNet-18; it must be a multiple of 64",
        ),
        (Network("resnet20", keep_dense=("conv.weigt",)), r"weight to keep dense 'conv\.weigt'.*'conv\.weight'"),
    ],
)
def test_refusals_in_one_line(network, message):
    with pytest.raises(ValueError, match=message) as refusal:
        build(network, (3, 32, 32), 10, seed=0)
    assert "\n" not in str(refusal.value)


def test_what_has_a_default_that_a_space_can_write_is_an_option(monkeypatch):
    def make(input_shape, num_classes, width=8, bias=True, norm="batch", kernel=(3, 3)):
        return nn.Conv2d(input_shape[0], width, kernel, bias=bias)

    monkeypatch.setitem(ARCHITECTURES, "own", Architecture(make, "for this test", min_size=1))
    assert ARCHITECTURES["own"].options == {"width": 8, "bias": True, "norm": "batch"}
    assert build(Network("own", (("bias", False), ("norm", "none"))), (3, 8, 8), 10, seed=0).bias is None


def test_an_mlp_of_one_layer_is_that_layer():
    model = build(Network("mlp", (("depth", 1),)), (1, 8, 8), 10, seed=0)
    assert [tuple(weight.shape) for weight in prunable(model).values()] == [(10, 64)]


def test_a_wide_bottleneck_is_torchvisions():
    from torchvision.models import wide_resnet50_2

    with torch.device("meta"):
        ours, theirs = (
            build(Network("resnet50", (("width", 128),)), (3, 64, 64), 10, 0),
            wide_resnet50_2(num_classes=10),
        )
    shapes = [{name: weight.shape for name, weight in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_a_grey_image_gives_what_it_gives_in_three_equal_colours():
    grey, colour = (build("resnet18", (channels, 32, 32), 10, seed=0).eval() for channels in (1, 3))
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(x), colour(x.expand(2, 3, 32, 32)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "conv", "resnet20", "vgg11-bn-tiny", "resnet18-cifar", "mobilenet-v2-cifar"])
def test_a_dense_classifier_is_the_last_layer_and_copies_remember(name):
    with torch.device("meta"):
        every = list(prunable(build(name, shape_of(name), 10, seed=0)))
        model = build(Network(name, dense_classifier=True), shape_of(name), 10, seed=0)
        again = copy.deepcopy(model)
    assert list(prunable(model)) == list(prunable(again)) == every[:-1]
