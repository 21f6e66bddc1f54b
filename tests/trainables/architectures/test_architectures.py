import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_spaces import Network
from trainables import datasets
from trainables.architectures import ARCHITECTURES, build, check

GREY8, GREY28, COLOUR16, COLOUR32 = (1, 8, 8), (1, 28, 28), (3, 16, 16), (3, 32, 32)

# Other images than those of test_published_sizes.py: name, input shape, parameters, prunable layers.
SIZES = [
    ("mlp", GREY8, 47_910, 6),
    ("conv", GREY8, 30_058, 3),
    ("conv", GREY28, 260_458, 3),
    ("resnet20", GREY8, 272_186, 22),
    ("vgg16-bn", GREY28, 14_727_114, 14),
    ("vgg16-bn", COLOUR16, 14_728_266, 14),
    ("resnet18-cifar", GREY28, 11_172_810, 21),
    ("mobilenet-v2-cifar", GREY28, 2_236_106, 53),
]


def prunable(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


@pytest.mark.parametrize(("name", "shape", "parameters", "layers"), SIZES)
def test_sizes(name, shape, parameters, layers):
    model = build(name, shape, num_classes=10, seed=0)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(prunable(model)) == layers
    assert model.training
    assert model(torch.zeros(2, *shape)).shape == (2, 10)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if "1202" not in name])  # slow, and as the others
def test_every_architecture_works_at_its_smallest_size_and_refuses_less(name):
    side = ARCHITECTURES[name].min_size
    with torch.device("meta"):
        model = build(name, (3, side, side), num_classes=7, seed=0)
        assert model(torch.zeros(2, 3, side, side)).shape == (2, 7)
    if side > 1:
        with pytest.raises(ValueError, match=f"'{name}' needs images of at least {side} pixels a side"):
            build(name, (3, side, side - 1), num_classes=7, seed=0)


def test_an_image_too_small_is_refused_with_what_can_be_done():
    with pytest.raises(ValueError, match="these are 8x8; architectures that can take them: mlp, conv, resnet20"):
        check(Network("vgg16-bn"), GREY8)


def test_an_unknown_name_is_refused_with_the_nearest_names():
    with pytest.raises(
        ValueError, match=r"'vgg16bn' is not known; did you mean 'vgg16-bn'\? Allowed: .*vgg16.* and \d+ more"
    ):
        build("vgg16bn", COLOUR32, num_classes=10, seed=0)


def test_resnet20_prunes_its_two_shortcuts():
    model = build("resnet20", COLOUR32, num_classes=10, seed=0)
    shortcuts = [module for module in prunable(model) if module.weight.shape[2:] == (1, 1)]
    assert [tuple(module.weight.shape[:2]) for module in shortcuts] == [(32, 16), (64, 32)]
    assert all(module.bias is None for module in model.modules() if isinstance(module, nn.Conv2d))


def test_vgg16_costs_what_the_tables_say():
    # The FLOPs of the COS 598D tables: an output element costs one for each of its weights, one for its bias.
    model = build("vgg16-bn", COLOUR32, num_classes=10, seed=0).eval()
    macs = []
    for module in prunable(model):
        cost = module.weight[0].numel() + 1
        module.register_forward_hook(lambda _, __, out, cost=cost: macs.append(out.numel() * cost))
    model(torch.zeros(1, *COLOUR32))
    assert sum(macs) == 313_478_154


def test_global_magnitude_finds_the_published_layer_profile():
    # Tanaka et al. 2020, raw data: density per layer after magnitude pruning at initialisation, 10x.
    published = [0.892, 0.517, 0.516, 0.358, 0.356, 0.193, 0.194, 0.194, *[0.066] * 5, 0.541]
    model = build("vgg16-bn", COLOUR32, num_classes=100, seed=0)
    sizes = [np.abs(module.weight.detach().numpy()).ravel() for module in prunable(model)]
    every = np.concatenate(sizes)
    threshold = np.partition(every, -len(every) // 10)[-len(every) // 10]
    profile = [(size >= threshold).mean() for size in sizes]
    np.testing.assert_allclose(profile, published, atol=0.01)


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_small_networks_learn_digits_in_seconds(name, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        data = datasets.load("digits", None, tmp_path)
        model = build(name, GREY8, data.num_classes, seed=0)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
        for epoch in range(30):
            for x, y in data.train_batches(0, epoch, 64):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            schedule.step()
        model.eval()
        with torch.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in data.test_batches())
    finally:
        torch.set_num_threads(threads)
    assert right / len(data.test_y) >= 0.95


def test_snips_vgg_is_drawn_and_normalised_as_in_its_program():
    # namhoonlee/snip-public f028496: tf.variance_scaling_initializer (scale 1, fan-in, a normal cut at two deviations,
    # these 1 / 0.8796 of the asked one), zeros for biases, tf.layers.batch_normalization (epsilon 1e-3, momentum 0.99).
    model = build("vgg16-bn-snip", (3, 32, 32), 10, seed=0)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert len(norms) == 15 and {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    drawn = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(drawn) == 16 and not any(layer.bias.any() for layer in drawn)
    for layer in drawn:
        fan_in = layer.weight[0].numel()
        assert float(layer.weight.square().mean()) * fan_in == pytest.approx(1, abs=0.06)
        assert float(layer.weight.abs().max()) <= 2 / 0.8796 / fan_in**0.5
    # Of 95 % its program keeps round(0.05 n), n = 15,245,130 with the biases.
    assert sum(layer.weight.numel() for layer in drawn) == 15_239_872
    assert sum(layer.bias.numel() for layer in drawn) == 5_258
