"""The smaller network computes the same, on every architecture, and trains the same."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from smaller_networks import difference, full, masked, size, stirred

from pruners import apply_masks, compact, prune
from trainables.architectures import build

SMALL, CIFAR = (3, 16, 16), (3, 32, 32)
NETWORKS = {
    "mlp": lambda: (build("mlp", SMALL, 10, seed=0), SMALL),
    "conv": lambda: (build("conv", SMALL, 10, seed=0), SMALL),
    "resnet20": lambda: (build("resnet20", SMALL, 10, seed=0), SMALL),
    "vgg11": lambda: (build("vgg11", SMALL, 10, seed=0), SMALL),
    "vgg16-bn": lambda: (build("vgg16-bn", CIFAR, 10, seed=0), CIFAR),
    "resnet18-cifar": lambda: (build("resnet18-cifar", SMALL, 10, seed=0), SMALL),
    "tv-resnet18": lambda: (torchvision.models.resnet18(num_classes=10), SMALL),
    "tv-resnet50": lambda: (torchvision.models.resnet50(num_classes=10), SMALL),
    "tv-densenet121": lambda: (torchvision.models.densenet121(num_classes=10), CIFAR),
    "tv-mobilenet_v2": lambda: (torchvision.models.mobilenet_v2(num_classes=10), SMALL),
    "tv-mobilenet_v3": lambda: (torchvision.models.mobilenet_v3_small(num_classes=10), SMALL),
    "tv-squeezenet": lambda: (torchvision.models.squeezenet1_1(num_classes=10), CIFAR),
    "tv-resnext": lambda: (torchvision.models.resnext50_32x4d(num_classes=10), SMALL),
}


# Fifty batch norms and more over 8 numbers each: in train mode float32 rounds 1e-4 of their own logits away, or more.
ILL_CONDITIONED = ("tv-resnet50", "tv-densenet121", "tv-resnext")
LARGE = (*ILL_CONDITIONED, "vgg16-bn")


@pytest.mark.parametrize("pruner", ["random", "magnitude", "synflow"])
@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NETWORKS]
)
def test_same_logits_in_eval_and_train_mode(network, pruner):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, shape = NETWORKS[network]()
    stirred(model)
    batch = [(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64))]
    sizes = []
    for compression in (5, 50, 500):
        masks = prune(model, pruner, compression, batch, iterations=3 if pruner == "synflow" else 1, scope="global")
        compacted = compact(model, masks, shape)
        assert not compacted.reason
        sizes.append(size(compacted.model))
        dtype = torch.float64 if network in ILL_CONDITIONED else torch.float32
        for training in (False, True):
            assert difference(masked(model, masks), compacted.model, shape, training, dtype) < 1e-5
    assert size(model) >= sizes[0] >= sizes[1] >= sizes[2] < size(model)


@pytest.mark.slow
def test_vgg16_bn_of_torchvision():
    """Flattening after pooling: 512 channels of 7x7 make 25 088 features."""
    model, shape = torchvision.models.vgg16_bn(num_classes=10, dropout=0.0), (3, 32, 32)
    masks = full(model)
    masks["features.40.weight"][3:] = False  # the last convolution keeps 3 channels
    compacted = compact(stirred(model), masks, shape)
    smaller = compacted.model.classifier[0]
    kept = int((compacted.model.features[41].bias != 0).sum())
    assert smaller.in_features == 49 * kept
    for training in (False, True):
        assert difference(masked(model, masks), compacted.model, shape, training) < 1e-5


def test_training_it_is_training_the_masked_model():
    """Ten steps of SGD with momentum and decay, in float64, then back into the full size."""
    shape = SMALL
    whole = build("resnet20", shape, 10, seed=0).double()
    masks = prune(whole, "snip", 100, [(torch.randn(16, *shape).double(), torch.arange(16) % 10)])
    apply_masks(whole, masks)
    compacted = compact(whole, masks, shape)
    small_masks = {name: compact_mask(masks[name], compacted.kept[name]) for name in masks}
    generator = torch.Generator().manual_seed(0)
    data = [(torch.randn(16, *shape, generator=generator).double(), torch.arange(16) % 10) for _ in range(10)]
    for model, kept in ((whole, masks), (compacted.model, small_masks)):
        optimizer = torch.optim.SGD(model.train().parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
        for x, y in data:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            apply_masks(model, kept)
    again = copy.deepcopy(whole)
    small = compacted.model.state_dict()
    again.load_state_dict({name: compacted.put(name, all_, small[name]) for name, all_ in whole.state_dict().items()})
    for training in (False, True):
        assert difference(whole, compacted.model, shape, training, torch.float64) < 1e-9
        assert difference(whole, again, shape, training, torch.float64) < 1e-9


def compact_mask(mask, indices):
    return mask[indices[0]][:, indices[1]]


def test_the_dense_model_stays_whole_and_the_given_one_untouched(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compacted = compact(model, {}, (3, 4, 4))
    assert size(compacted.model) == size(model) and not compacted.reason
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(compacted.model.steps, model.steps)
    assert [m.training for m in compacted.model.modules()] == [m.training for m in model.modules()]


def test_a_collapsed_network_still_answers_with_its_biases():
    model = stirred(build("vgg16-bn", CIFAR, 10, seed=0))
    masks = {name: torch.zeros_like(mask) for name, mask in full(model).items()}
    compacted = compact(model, masks, CIFAR)
    assert size(compacted.model) < 500
    assert difference(masked(model, masks), compacted.model, CIFAR, True) < 1e-5


def test_memory_format_and_device_type_are_kept():
    model = build("resnet20", SMALL, 10, seed=0).to(memory_format=torch.channels_last)
    small = compact(model, prune(model, "magnitude", 100), SMALL).model
    assert small.blocks[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert small.blocks[0].conv1.weight.dtype == torch.float32
