"""The smaller network computes the same: on nets worked by hand, and on every architecture."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pruners import apply_masks, compact, prunable, prune
from pruners.channels import Layer, follow
from trainables.architectures import ARCHITECTURES, build


def stirred(model, seed=0):
    """Batch norm with statistics, scales and shifts as after training, biases too."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0  # another width draws other numbers
    return model


def masked(model, masks):
    model = copy.deepcopy(model)
    apply_masks(model, masks)
    return model


def difference(a, b, shape, training, dtype=torch.float32):
    """The largest difference of logits, as a share of the largest logit where that is above 1: it rounds in these."""
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    with torch.no_grad():
        left, right = (copy.deepcopy(model).to(dtype).train(training)(x) for model in (a, b))
    return float((left - right).abs().max() / left.abs().max().clamp(min=1))


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


def full(model):
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in prunable(model).items()}


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


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_followed(name):
    with torch.device("meta"):  # shapes without numbers: some have a thousand layers
        model = build(name, (3, 64, 64), 10, seed=0)
    assert set(follow(model).inputs) == {module for module in model.modules() if isinstance(module, Layer)}


@pytest.mark.parametrize("pruner", ["random", "magnitude", "synflow"])
@pytest.mark.parametrize("network", NETWORKS)
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
    again.load_state_dict(compacted.scatter(whole.state_dict()))
    for training in (False, True):
        assert difference(whole, compacted.model, shape, training, torch.float64) < 1e-9
        assert difference(whole, again, shape, training, torch.float64) < 1e-9


def compact_mask(mask, indices):
    return mask[indices[0]][:, indices[1]]


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


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
