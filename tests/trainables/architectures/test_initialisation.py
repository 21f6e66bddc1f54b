"""Initialisations by name, against what the published programs' own networks were measured to have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from image_files import write_folder
from torch import nn

from search_spaces import SpaceError, Trial
from search_spaces.network import Network, read
from trainables.architectures import ARCHITECTURES, build, lookup
from trainables.architectures.initialisation import INITIALISATIONS, initialise
from trainables.datasets import load
from trainables.training.trainer import make_trainer

FACTS = json.loads((Path(__file__).parents[2] / "published" / "initialisation.json").read_text("utf-8"))["networks"]


def drawn(network: Network, side: int = 32, classes: int = 10, seed: int = 0) -> nn.Module:
    return build(network, (3, side, side), classes, seed)


def weights(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def close(found: torch.Tensor, published: float) -> bool:
    """Both are deviations of as many draws: five of their standard errors apart at most."""
    return abs(found.std().item() - published) <= 5 * published / len(found.flatten()) ** 0.5


@pytest.mark.parametrize("fact", FACTS, ids=[f"{fact['program']} {fact['network']}" for fact in FACTS])
def test_weights_are_as_large_as_in_the_published_program(fact):
    name, _, option = fact["network"].partition(" ")
    options = tuple((key, int(value)) for key, value in [option.split("=")]) if option else ()
    model = build(Network(name, options, init=fact["init"]), tuple(fact["input_shape"]), fact["classes"], seed=0)
    ours, theirs = weights(model), {tuple(shape): [] for shape, *_ in fact["layers"]}
    for shape, weight, bias in fact["layers"]:
        theirs[tuple(shape)].append((weight, bias))
    # MobileNetV2's programs have two shortcuts more than torchvision's, with convolutions of their own.
    assert len(ours) == len(fact["layers"]) or name.startswith("mobilenet")
    for layer in ours:
        weight, bias = theirs[tuple(layer.weight.shape)][0]
        assert close(layer.weight.detach(), weight)
        if layer.bias is not None and bias is not None:
            assert (layer.bias == 0).all() if bias == 0 else close(layer.bias.detach(), bias)
    scales = [module.weight.detach() for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if fact["norm"]:
        mean, std = fact["norm"]
        assert torch.cat(scales).mean().item() == pytest.approx(mean, abs=0.03)
        assert torch.cat(scales).std().item() == pytest.approx(std, abs=0.02)


def test_the_snip_authors_variance_scaling():
    # snip/network.py, get_initializer: TensorFlow's, of variance 1 / fan-in, a normal cut at two deviations.
    model = drawn(Network("vgg16-bn", init="snip"))
    for layer, std in ((weights(model)[0], 0.19245), (weights(model)[8], 0.014731), (weights(model)[-1], 0.044194)):
        assert close(layer.weight.detach(), std)
        assert layer.weight.abs().max() <= 2 * std / 0.8796
        assert (layer.bias == 0).all()


def test_xavier_as_a_port_of_snip_draws_while_it_scores():
    layers = weights(drawn(Network("resnet20", init="xavier")))
    assert close(layers[1].weight.detach(), (2 / (16 * 9 + 16 * 9)) ** 0.5)
    assert close(layers[-1].weight.detach(), (2 / (64 + 10)) ** 0.5)


@pytest.mark.parametrize(
    ("name", "k", "published", "seeds"), [("resnet18", 14, 157_897, 3), ("resnet50", 10, 53_136, 2)]
)
def test_magnitude_keeps_as_much_of_the_last_layer_as_in_the_ntk_sap_program(name, k, published, seeds):
    # At densities 0.8^k theirs keeps so many weights of fc; with torchvision's draws nothing is left of it.
    def kept(init: str, seed: int) -> int:
        model = drawn(Network(name, init=init), 224, 1000, seed)
        sizes = torch.cat([layer.weight.detach().abs().flatten() for layer in weights(model)])
        threshold = sizes.kthvalue(len(sizes) - round(0.8**k * len(sizes))).values
        return int((model.fc.weight.abs() > threshold).sum())

    assert all(abs(kept("kaiming-fan-in", seed) / published - 1) < 0.02 for seed in range(seeds))
    assert kept("", 0) == 0


@pytest.mark.parametrize("init", INITIALISATIONS)
def test_a_seed_decides_and_the_global_state_does_not(init):
    one = drawn(Network("resnet20", init=init)).state_dict()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    same, other = (drawn(Network("resnet20", init=init), seed=seed).state_dict() for seed in (0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["fc.weight"], other["fc.weight"])


TRANSFORMERS = {"vit-tiny", "vit-small", "deit-small", "swin-tiny"}  # each layer as in torchvision, which has no name


def test_every_other_architecture_says_how_it_draws():
    assert {name for name, architecture in ARCHITECTURES.items() if not architecture.init} == TRANSFORMERS


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in TRANSFORMERS])
def test_what_an_architecture_draws_by_itself_is_no_option(name):
    own = ARCHITECTURES[name].init
    assert own in INITIALISATIONS
    assert read({"name": name, "init": own}, ARCHITECTURES[name]) == Network(name)
    other = "xavier"
    assert read({"name": name, "init": other}, ARCHITECTURES[name]) == Network(name, init=other)


def test_the_architectures_own_name_is_what_it_draws():
    for name in ("mlp", "conv", "resnet18", "vgg11", "vgg11-bn-tiny", "mobilenet-v2-cifar"):
        shape = (3, 64, 64)
        own, named = (
            weights(build(network, shape, 10, 0)) for network in (name, Network(name, init=ARCHITECTURES[name].init))
        )
        for one, other in zip(own, named, strict=True):
            assert close(one.weight.detach(), other.weight.std().item())
            assert (one.bias is None) or (one.bias == 0).all() == (other.bias == 0).all()


def test_a_network_of_ones_own_is_drawn_too(tmp_path):
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n"
        "def build(shape, classes):\n"
        "    return nn.Sequential(nn.LazyConv2d(64, 3), nn.Flatten(), nn.LazyLinear(classes))\n"
        "def normed(shape, classes):\n"
        "    linear = nn.utils.parametrizations.weight_norm(nn.Linear(3 * 8 * 8, classes))\n"
        "    return nn.Sequential(nn.Flatten(), linear)\n"
    )
    name = f"{file}:build"
    network = read({"name": name, "init": "kaiming-fan-in"}, lookup(name))
    first, last = weights(build(network, (3, 8, 8), 10, 0))
    assert close(first.weight.detach(), (2 / 27) ** 0.5)
    assert close(last.weight.detach(), (2 / (64 * 36)) ** 0.5)
    normed = Network(f"{file}:normed", init="xavier")
    with pytest.raises(SpaceError, match=r"init: 'xavier' is not allowed; layer '1' computes its weight"):
        build(normed, (3, 8, 8), 10, 0)


def test_weights_drawn_anew_for_an_ablation_are_drawn_alike(tmp_path):
    root = write_folder(tmp_path / "small", sizes=((24, 24),))
    trial = Trial(dataset=f"folder:{root}", architecture="conv", init="xavier", ablation="reinitialize")
    on = make_trainer(trial, load(f"folder:{root}", None, tmp_path), torch.device("cpu"), 0.0)
    before = [layer.weight.detach().clone() for layer in weights(on.model)]
    on.reinitialize()
    for first, again in zip(before, weights(on.model), strict=True):
        assert not torch.equal(first, again.weight)
        assert close(first, again.weight.std().item())
    on.restart()
    assert all(torch.equal(a, b.weight) for a, b in zip(before, weights(on.model), strict=True))


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(SpaceError, match=r"init: 'kaiming-fanin' is not known; did you mean 'kaiming-fan-in'\?"):
        read({"name": "resnet50", "init": "kaiming-fanin"}, ARCHITECTURES["resnet50"])
    with pytest.raises(SpaceError, match="resnet50: init: xavier is not allowed with pretrained weights"):
        read({"name": "resnet50", "init": "xavier", "pretrained": "imagenet"}, ARCHITECTURES["resnet50"])
    with pytest.raises(SpaceError, match="has no convolution or linear layer to initialise"):
        initialise(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)), "xavier")
