"""Small networks of every structure that a fast path or a pruner could get wrong, by name.

All take images [N, C, H, W] and return logits [N, classes], and run in plain PyTorch. `ENTRIES` says of each how many
of its weights are prunable, counted by hand. The file needs torch alone, so that a trial can carry it as the user's own
architecture: `networks.py:build` with the option `name`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as torch_prune
from torch.utils.checkpoint import checkpoint

Shape = tuple[int, int, int]
Wrap = Callable[[Any], Any]
CLASSES = 4
LARGE, SMALL = (3, 16, 16), (1, 8, 8)  # images of 16 pixels and more are laid out channels-last
W = 8  # the channels of most networks here


@dataclass(frozen=True)
class Entry:
    """A network of the zoo. `weights` is the number of its prunable weights; -1 where pruning may be refused."""

    make: Callable[[Shape, int], nn.Module]
    weights: int
    shape: Shape = LARGE
    exact: bool = True  # runs in float64
    draws: bool = False  # draws random numbers while it trains


ENTRIES: dict[str, Entry] = {}
CHAIN = 9 * 3 * W + 9 * W * W + CLASSES * W  # prunable weights of `chain`: 824
Maker = Callable[[Shape, int], nn.Module]


def entry(weights: int = CHAIN, shape: Shape = LARGE, **facts: Any) -> Callable[[Maker], Maker]:
    """Register a function that makes a network under its own name, or a class under its name in lower case."""

    def register(make: Maker) -> Maker:
        ENTRIES[make.__name__.lower()] = Entry(make, weights, shape, **facts)
        return make

    return register


def build(input_shape: Shape, num_classes: int, name: str = "plain") -> nn.Module:
    """Return the network of that name, its norms and biases as after training."""
    return stirred(ENTRIES[name].make(input_shape, num_classes))


@torch.no_grad()
def stirred(model: nn.Module) -> nn.Module:
    """Give biases, scales and running statistics the values of a trained network: else folding has nothing to fold."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
        scaled = isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm)
        for name, parameter in module.named_parameters(recurse=False):
            if name == "bias":
                parameter.normal_(0, 0.2)
            elif scaled:
                parameter.uniform_(0.5, 1.5)
    return model


def chain(
    shape: Shape,
    classes: int,
    wrap: Wrap = lambda layer: layer,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    act: Callable[[], nn.Module] = nn.ReLU,
    conv: Callable[..., nn.Module] = nn.Conv2d,
) -> nn.Sequential:
    """Return two convolutions with norms, a mean over the pixels and a linear layer."""
    return nn.Sequential(
        *(wrap(conv(shape[0], W, 3, padding=1)), norm(W), act()),
        *(wrap(conv(W, W, 3, padding=1)), norm(W), act()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(W, classes)),
    )


class Net(nn.Module):
    """A stem, what a subclass puts into `body`, and a classifier of the mean over the pixels."""

    stem_bias = True

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(shape[0], W, 3, padding=1, bias=self.stem_bias)
        self.make()
        self.head = nn.Linear(W, classes)

    def make(self) -> None:
        """Create further layers."""

    def body(self, x: Tensor) -> Tensor:
        """[N, W, H, W] to the same."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(F.relu(self.stem(x))).mean((2, 3)))


def conv(bias: bool = False, **settings: Any) -> nn.Conv2d:
    return nn.Conv2d(W, W, 3, padding=1, bias=bias, **settings)


ENDS = 9 * 3 * W + CLASSES * W  # prunable weights of the stem and the head of `Net`: 248


@entry()
def plain(shape, classes):
    return chain(shape, classes)


@entry(9 * W + 9 * W * W + CLASSES * W, SMALL)
def plain_small(shape, classes):
    return chain(shape, classes)


# Weights and modules that are shared


@entry()
class TiedConvolutions(Net):
    def make(self):
        self.a, self.b, self.n, self.m = conv(), conv(), nn.BatchNorm2d(W), nn.BatchNorm2d(W)
        self.b.weight = self.a.weight

    def body(self, x):
        return F.relu(self.m(self.b(F.relu(self.n(self.a(x))))))


@entry()
class TiedBiases(Net):
    def make(self):
        self.a, self.n, self.m = conv(bias=True), nn.BatchNorm2d(W), nn.BatchNorm2d(W)
        self.a.bias = self.stem.bias

    def body(self, x):
        return F.relu(self.m(self.a(self.n(x))))


@entry()
class TiedNorms(Net):
    def make(self):
        self.a, self.n, self.m = conv(), nn.BatchNorm2d(W), nn.BatchNorm2d(W)
        self.m.weight, self.m.running_mean = self.n.weight, self.n.running_mean

    def body(self, x):
        return F.relu(self.m(self.a(self.n(x))))


@entry(48 * 12 + 48 * CLASSES)
class TiedLinear(nn.Module):
    """An autoencoder whose decoder is the transposed encoder."""

    def __init__(self, shape, classes):
        super().__init__()
        self.down, self.head = nn.Linear(shape[0] * 16, 12), nn.Linear(shape[0] * 16, classes)

    def forward(self, x):
        x = F.adaptive_avg_pool2d(x, 4).flatten(1)
        return self.head(F.relu(F.linear(F.relu(self.down(x)), self.down.weight.t())))


@entry(W * CLASSES)
class Embedded(nn.Module):
    """Pixels as tokens: a lookup is no product, so the table is not prunable."""

    def __init__(self, shape, classes):
        super().__init__()
        self.table, self.head = nn.Embedding(16, W), nn.Linear(W, classes)

    def forward(self, x):
        return self.head(self.table((x.mean(1).flatten(1) * 4 + 8).long().clamp(0, 15)).mean(1))


@entry()
class CalledTwice(Net):
    def make(self):
        self.a, self.n, self.m = conv(), nn.BatchNorm2d(W), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.m(self.a(F.relu(self.n(self.a(x))))))


@entry()
class SharedNorm(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(self.n(x))))


@entry(9 * 3 * W + 2 * CLASSES * W)
class Siamese(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.tower = nn.Sequential(nn.Conv2d(shape[0], W, 3), nn.BatchNorm2d(W), nn.ReLU())
        self.head = nn.Linear(2 * W, classes)

    def forward(self, x):
        left, right = x.chunk(2, 3)
        return self.head(torch.cat([self.tower(left).mean((2, 3)), self.tower(right).mean((2, 3))], 1))


@entry()
class OneModuleTwoNames(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)
        self.again = nn.ModuleList([self.a, self.n])

    def body(self, x):
        return F.relu(self.again[1](self.a(x)))


@entry()
class TwoNamesRaw(Net):
    """A norm under two names, and a weight without a layer, which is looked for by a forward pass."""

    def make(self):
        self.w, self.n = nn.Parameter(torch.randn(W, W, 3, 3) / 9), nn.BatchNorm2d(W)
        self.m = self.n

    def body(self, x):
        return F.relu(self.m(F.conv2d(self.n(x), self.w, padding=1)))


# Weights that are computed


def _wrapped(name: str, wrap: Wrap, weights: int = CHAIN) -> None:
    ENTRIES[name] = Entry(lambda shape, classes: chain(shape, classes, wrap), weights)
    ENTRIES[f"{name}_no_norm"] = Entry(
        lambda shape, classes: chain(shape, classes, wrap, lambda _: nn.Identity()), weights
    )


class Scaled(nn.Module):
    """A parametrization that keeps zeros where they are."""

    def forward(self, weight):
        return weight * 1.5


class Centred(nn.Module):
    """A parametrization that does not."""

    def forward(self, weight):
        return weight - weight.mean()


def _pruned(layer):
    return torch_prune.l1_unstructured(layer, "weight", amount=0.3)


def _old_orthogonal(layer):
    return parametrizations.orthogonal(layer)


def _parametrized(how: type[nn.Module]) -> Wrap:
    def wrap(layer):
        parametrize.register_parametrization(layer, "weight", how())
        return layer

    return wrap


_wrapped("weight_norm", parametrizations.weight_norm)
_wrapped("spectral_norm", parametrizations.spectral_norm)
_wrapped("old_weight_norm", nn.utils.weight_norm)
_wrapped("old_spectral_norm", nn.utils.spectral_norm)
_wrapped("orthogonal", _old_orthogonal, -1)
_wrapped("scaled", _parametrized(Scaled))
_wrapped("centred", _parametrized(Centred), -1)
_wrapped("torch_pruned", _pruned)


@entry()
def parametrized_bias(shape, classes):
    model = chain(shape, classes)
    parametrize.register_parametrization(model[0], "bias", Scaled())
    return model


@entry()
def parametrized_norm(shape, classes):
    model = chain(shape, classes)
    parametrize.register_parametrization(model[1], "weight", Scaled())
    return model


# Hooks


@entry()
def hook_on_output(shape, classes):
    model = chain(shape, classes)
    model[0].register_forward_hook(lambda layer, given, made: 5 * made.relu() + 1)
    return model


@entry()
def hook_on_input(shape, classes):
    model = chain(shape, classes)
    model[1].register_forward_pre_hook(lambda layer, given: (given[0].relu() * 2,))
    return model


@entry()
def hook_with_keywords(shape, classes):
    model = chain(shape, classes)
    model[3].register_forward_hook(lambda layer, given, named, made: made.tanh(), with_kwargs=True)
    model[4].register_forward_pre_hook(lambda layer, given, named: ((given[0].relu(),), named), with_kwargs=True)
    return model


@entry()
def hook_on_norm(shape, classes):
    model = chain(shape, classes)
    model[1].register_forward_hook(lambda layer, given, made: made + given[0])
    return model


@entry()
def hook_on_all(shape, classes):
    model = chain(shape, classes)
    model.register_forward_hook(lambda layer, given, made: made.tanh())
    return model


@entry()
def hook_that_looks(shape, classes):
    model = chain(shape, classes)
    model[0].register_forward_hook(lambda layer, given, made: None)
    return model


@entry()
def hook_on_gradient(shape, classes):
    model = chain(shape, classes)
    model[3].register_full_backward_hook(lambda layer, given, came: (given[0] * 0.5,))
    model[3].weight.register_hook(lambda gradient: gradient * 2)
    return model


def _rectified(layer, x):
    return nn.Conv2d.forward(layer, x).relu()


@entry()
def replaced_forward(shape, classes):
    model = chain(shape, classes)
    model[0].forward = MethodType(_rectified, model[0])  # and no closure: copies of that would use this layer's weights
    return model


# Forward passes with a will of their own


@entry()
class BranchesOnTraining(Net):
    def make(self):
        self.a, self.n, self.m = conv(), nn.BatchNorm2d(W), nn.BatchNorm2d(W)

    def body(self, x):
        x = self.a(x)
        return F.relu(self.n(x) if self.training else self.n(x) + x)


@entry()
class NormOnlyInTraining(Net):
    def make(self):
        self.a, self.n = conv(bias=True), nn.BatchNorm2d(W)

    def body(self, x):
        x = self.a(x)
        return F.relu(self.n(x) if self.training else x)


@entry(draws=True)
class Dropped(Net):
    def make(self):
        self.a, self.n, self.drop = conv(), nn.BatchNorm2d(W), nn.Dropout2d(0.3)

    def body(self, x):
        return self.drop(F.relu(self.n(self.a(x))))


@entry(draws=True)
class StochasticDepth(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        if self.training and torch.rand(()) < 0.5:
            return x
        return x + F.relu(self.n(self.a(x)))


@entry()
class Asks(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        x = x / 10 if float(x.abs().max()) > 10 else x
        return F.relu(self.n(self.a(x)))


@entry()
class Counts(Net):
    """A forward pass that depends on how many there were."""

    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)
        self.register_buffer("seen", torch.zeros(()))

    def body(self, x):
        if self.training:
            self.seen += 1
        return F.relu(self.n(self.a(x)) * (1 + self.seen / 10))


@entry()
class KeepsFeatures(Net):
    def make(self):
        self.a, self.n, self.features = conv(), nn.BatchNorm2d(W), None

    def body(self, x):
        self.features = F.relu(self.n(self.a(x)))
        return self.features


@entry(9 * W + CLASSES * W, SMALL)
class ChangesItsInput(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.c, self.f = nn.Conv2d(shape[0], W, 3, padding=1), nn.Linear(W, classes)

    def forward(self, x):
        return self.f(F.relu(self.c(x.sub_(0.5).mul_(2))).mean((2, 3)))


@entry()
def relu_in_place_first(shape, classes):
    return nn.Sequential(nn.ReLU(inplace=True), chain(shape, classes, act=lambda: nn.ReLU(inplace=True)))


@entry(25 * 3 * 4 + 144 * 16 + 16 * CLASSES)
class LeNet(nn.Module):
    """`view` after a convolution, which channels-last memory has no strides for."""

    def __init__(self, shape, classes):
        super().__init__()
        self.c, self.a, self.f = nn.Conv2d(shape[0], 4, 5), nn.Linear(144, 16), nn.Linear(16, classes)

    def forward(self, x):
        return self.f(F.relu(self.a(F.max_pool2d(F.relu(self.c(x)), 2).view(-1, 144))))


@entry()
class Transposes(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x.transpose(2, 3).flip(1))))


@entry()
class ReadsTwice(Net):
    """A convolution that its norm and another layer read."""

    def make(self):
        self.a, self.n = conv(bias=True), nn.BatchNorm2d(W)

    def body(self, x):
        x = self.a(x)
        return F.relu(self.n(x)) + x.sigmoid()


@entry()
class Checkpointed(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return checkpoint(lambda x: F.relu(self.a(x)), x, use_reentrant=False) + self.n(x)


@entry(9 * 3 * W + 2 * 9 * W * W + CLASSES * W)
class Routes(Net):
    """Each image goes through one of two experts, as its pixels say."""

    def make(self):
        self.experts = nn.ModuleList([conv(), conv()])

    def body(self, x):
        first = (x.mean((1, 2, 3)) > x.mean()).view(-1, 1, 1, 1)
        return torch.where(first, self.experts[0](x), self.experts[1](x)).relu()


# Weights used without a module


@entry()
class RawConvolution(Net):
    def make(self):
        self.w = nn.Parameter(torch.randn(W, W, 3, 3) / 9)
        self.n = nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(F.conv2d(x, self.w, padding=1)))


@entry(9 * 3 * W + W * W + CLASSES * W)
class RawProduct(Net):
    def make(self):
        self.w = nn.Parameter(torch.randn(W, W) / 3)

    def body(self, x):
        return F.relu(x.permute(0, 2, 3, 1) @ self.w).permute(0, 3, 1, 2)


@entry(9 * 3 * W + W * W + CLASSES * W)
class RawEinsum(Net):
    def make(self):
        self.w = nn.Parameter(torch.randn(W, W) / 3)

    def body(self, x):
        return F.relu(torch.einsum("nchw,cd->ndhw", x, self.w))


@entry()
class FoldedByHand(Net):
    """A module that is never called: its weights are used, as Swin's are."""

    def make(self):
        self.a, self.n = conv(bias=True), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(F.conv2d(x, self.a.weight, self.a.bias, padding=1)))


@entry()
class UsedBothWays(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x)) + F.conv2d(x, self.a.weight / 2, padding=1))


@entry()
class NormByHand(Net):
    """A norm that is never called: its numbers are used."""

    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        n = self.n
        return F.relu(F.batch_norm(self.a(x), n.running_mean, n.running_var, n.weight, n.bias, self.training))


@entry()
class Penalised(Net):
    """A forward pass that reads a weight as a number."""

    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x)) * (1 + self.a.weight.square().mean()))


@entry(9 * 3 * W + W * W * 9 + CLASSES * W)
class Unfolded(Net):
    def make(self):
        self.a = nn.Linear(9 * W, W)

    def body(self, x):
        columns = F.unfold(x, 3, padding=1).transpose(1, 2)
        return F.relu(self.a(columns)).transpose(1, 2).unflatten(2, x.shape[2:])


class OwnConvolution(nn.Conv2d):
    """A subclass that changes nothing."""


class Standardised(nn.Conv2d):
    """A subclass with a forward pass of its own."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class OwnLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


@entry()
def subclassed(shape, classes):
    return chain(shape, classes, conv=OwnConvolution)


@entry()
def subclassed_forward(shape, classes):
    return chain(shape, classes, conv=Standardised)


@entry()
def subclassed_linear(shape, classes):
    model = chain(shape, classes)
    model[8] = OwnLinear(W, classes)
    return model


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + 1


@entry()
def subclassed_norm(shape, classes):
    return chain(shape, classes, norm=OwnNorm)


# Convolutions of other kinds


@entry(9 * 3 * W + 9 * W * 2 + CLASSES * W)
class Grouped(Net):
    def make(self):
        self.a, self.n = conv(groups=4), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x)))


@entry(9 * 3 * W + 9 * W + W * W + CLASSES * W)
class Depthwise(Net):
    def make(self):
        self.a, self.b = conv(groups=W), nn.Conv2d(W, W, 1, bias=False)
        self.n, self.m = nn.BatchNorm2d(W), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu6(self.m(self.b(F.relu6(self.n(self.a(x))))))


@entry(9 * 3 * W + 9 * 2 * W + 9 * W * W + CLASSES * W)
class DepthMultiplied(Net):
    """A depthwise convolution with two outputs per input, and a grouped one back."""

    def make(self):
        self.a = nn.Conv2d(W, 2 * W, 3, padding=1, groups=W)
        self.n = nn.BatchNorm2d(2 * W)
        self.b = nn.Conv2d(2 * W, W, 3, padding=1, groups=2)

    def body(self, x):
        return F.relu(self.b(F.relu(self.n(self.a(x)))))


@entry(9 * 3 * W + 9 * W * W + CLASSES * W)
class Transposed(Net):
    def make(self):
        self.a = nn.ConvTranspose2d(W, W, 3, stride=2, padding=1, output_padding=1)
        self.n = nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x)))


@entry(9 * 3 * W + 16 * W * 2 + CLASSES * W)
class TransposedGrouped(Net):
    def make(self):
        self.a = nn.ConvTranspose2d(W, W, 4, stride=2, padding=1, groups=4, bias=False)
        self.n = nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x)))


@entry()
def dilated(shape, classes):
    return chain(shape, classes, conv=lambda *a, **k: nn.Conv2d(*a, **k | {"padding": 2, "dilation": 2}))


@entry()
def circular(shape, classes):
    return chain(shape, classes, conv=lambda *a, **k: nn.Conv2d(*a, **k, padding_mode="circular"))


@entry(5 * 48 * W + 3 * W * W + CLASSES * W)
class OneDimensional(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.a, self.b = nn.Conv1d(shape[0] * shape[1], W, 5), nn.Conv1d(W, W, 3)
        self.n, self.m, self.head = nn.BatchNorm1d(W), nn.BatchNorm1d(W), nn.Linear(W, classes)

    def forward(self, x):
        x = F.relu(self.n(self.a(x.flatten(1, 2))))
        return self.head(F.relu(self.m(self.b(x))).mean(2))


@entry(27 * 4 + 27 * 16 + CLASSES * 4)
class ThreeDimensional(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.a, self.b = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
        self.n, self.m, self.head = nn.BatchNorm3d(4), nn.BatchNorm3d(4), nn.Linear(4, classes)

    def forward(self, x):
        x = F.max_pool3d(F.relu(self.n(self.a(x[:, None]))), (1, 2, 2))
        return self.head(F.relu(self.m(self.b(x))).mean((2, 3, 4)))


@entry(9 * 3 * 4 * W + CLASSES * W)
class Shuffled(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.a, self.n, self.head = nn.Conv2d(shape[0], 4 * W, 3), nn.BatchNorm2d(4 * W), nn.Linear(W, classes)

    def forward(self, x):
        return self.head(F.relu(F.pixel_shuffle(self.n(self.a(x)), 2)).mean((2, 3)))


@entry(9 * 3 * W + 9 * W * W + CLASSES * W)
class ConvolutionalHead(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def forward(self, x):
        x = F.relu(self.n(self.a(F.relu(self.stem(x)))))
        weight = self.head.weight[:, :, None, None]
        return F.conv2d(x, weight, self.head.bias).mean((2, 3))


# Recurrent networks and attention, over the rows of the image


class Rows(nn.Module):
    """The rows of an image as a sequence [N, 16, 48]."""

    def __init__(self, shape, classes, width=W):
        super().__init__()
        self.inputs = shape[0] * shape[2]
        self.make()
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(self.body(x.transpose(1, 2).flatten(2)))


@entry(4 * W * (48 + W) + CLASSES * W)
class Lstm(Rows):
    def make(self):
        self.r = nn.LSTM(self.inputs, W, batch_first=True)

    def body(self, x):
        return self.r(x)[0][:, -1]


@entry(3 * W * (48 + W) + CLASSES * W)
class Gru(Rows):
    def make(self):
        self.r = nn.GRU(self.inputs, W, batch_first=True)

    def body(self, x):
        return self.r(x)[0].mean(1)


@entry(2 * (W * (48 + W) + W * (2 * W + W)) + CLASSES * 2 * W)
class Bidirectional(Rows):
    def __init__(self, shape, classes):
        super().__init__(shape, classes, 2 * W)

    def make(self):
        self.r = nn.RNN(self.inputs, W, num_layers=2, bidirectional=True)

    def body(self, x):
        return self.r(x.transpose(0, 1))[0].mean(0)


@entry(4 * W * 48 + 4 * W * 4 + 4 * W + CLASSES * 4)
class Projected(Rows):
    def __init__(self, shape, classes):
        super().__init__(shape, classes, 4)

    def make(self):
        self.r = nn.LSTM(self.inputs, W, proj_size=4, batch_first=True)

    def body(self, x):
        return self.r(x)[0].mean(1)


@entry(3 * W * (48 + W) + CLASSES * W)
class Cell(Rows):
    def make(self):
        self.r = nn.GRUCell(self.inputs, W)

    def body(self, x):
        h = x.new_zeros(len(x), W)
        for t in range(0, x.shape[1], 4):
            h = self.r(x[:, t], h)
        return h


@entry(48 * W + W * W + CLASSES * W)
class Elman(Rows):
    """A recurrence by hand, which begins with plain zeros."""

    def make(self):
        self.i, self.h = nn.Linear(self.inputs, W), nn.Linear(W, W)

    def body(self, x):
        h = torch.zeros(len(x), W, dtype=x.dtype)
        for t in range(0, x.shape[1], 4):
            h = torch.tanh(self.i(x[:, t]) + self.h(h))
        return h


@entry(48 * W + 4 * W * W + CLASSES * W)
class AttentionFirst(Rows):
    def make(self):
        self.i, self.n = nn.Linear(self.inputs, W), nn.LayerNorm(W)
        self.a = nn.MultiheadAttention(W, 2, batch_first=True)

    def body(self, x):
        x = self.n(self.i(x))
        return (x + self.a(x, x, x, need_weights=False)[0]).mean(1)


@entry(48 * W + 4 * W * W + CLASSES * W)
class AttentionSecond(Rows):
    def make(self):
        self.i, self.n = nn.Linear(self.inputs, W), nn.LayerNorm(W)
        self.a = nn.MultiheadAttention(W, 2, bias=False)

    def body(self, x):
        x = self.n(self.i(x)).transpose(0, 1)
        return (x + self.a(x, x, x)[0]).mean(0)


@entry(48 * W + W * W + W * 48 + W * 48 + W * W + CLASSES * W)
class AttentionAcross(Rows):
    def make(self):
        self.i = nn.Linear(self.inputs, W)
        self.a = nn.MultiheadAttention(W, 2, kdim=self.inputs, vdim=self.inputs, batch_first=True, add_bias_kv=True)

    def body(self, x):
        return self.a(self.i(x), x, x)[0].mean(1)


@entry(48 * W + 4 * W * W + 2 * W * 2 * W + CLASSES * W)
class Encoder(Rows):
    """torch's own layer, which has a fused path of its own in eval mode."""

    def make(self):
        self.i = nn.Linear(self.inputs, W)
        self.e = nn.TransformerEncoderLayer(W, 2, 2 * W, dropout=0.0, batch_first=True)

    def body(self, x):
        return self.e(self.i(x)).mean(1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.n, self.m = nn.LayerNorm(W), nn.LayerNorm(W)
        self.qkv, self.o = nn.Linear(W, 3 * W), nn.Linear(W, W)
        self.up, self.down = nn.Linear(W, 2 * W), nn.Linear(2 * W, W)

    def forward(self, x):
        q, k, v = self.qkv(self.n(x)).unflatten(2, (3, 2, W // 2)).permute(2, 0, 3, 1, 4)
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.m(x))))


@entry(16 * 3 * W + 2 * (3 * W * W + W * W + 4 * W * W) + CLASSES * W)
class TinyViT(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.patch = nn.Conv2d(shape[0], W, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, W))
        self.place = nn.Parameter(torch.randn(1, 1 + shape[1] * shape[2] // 16, W) / 8)
        self.blocks, self.n, self.head = nn.Sequential(Block(), Block()), nn.LayerNorm(W), nn.Linear(W, classes)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        return self.head(self.n(self.blocks(x))[:, 0])


@entry(48 * W + 3 * W * W + W * W + CLASSES * W)
class Swinlike(Rows):
    """Attention by a function that is given the weights of layers which are never called."""

    def make(self):
        self.i, self.qkv, self.o = nn.Linear(self.inputs, W), nn.Linear(W, 3 * W), nn.Linear(W, W)

    def body(self, x):
        x = self.i(x)
        q, k, v = F.linear(x, self.qkv.weight, self.qkv.bias).chunk(3, 2)
        x = (q @ k.transpose(1, 2) / math.sqrt(W)).softmax(2) @ v
        return F.linear(x, self.o.weight, self.o.bias).mean(1)


@entry(9 * 3 * W + 2 * W * 4 + CLASSES * W)
class SqueezeExcite(Net):
    def make(self):
        self.n, self.down, self.up = nn.BatchNorm2d(W), nn.Linear(W, 4), nn.Conv2d(4, W, 1)

    def body(self, x):
        x = self.n(x)
        gate = self.up(F.relu(self.down(x.mean((2, 3))))[:, :, None, None])
        return x * gate.sigmoid()


# Connections


@entry(9 * 3 * W + 9 * W * 4 + 9 * (W + 4) * 4 + CLASSES * 2 * W)
class Dense(Net):
    def make(self):
        self.a, self.b = nn.Conv2d(W, 4, 3, padding=1), nn.Conv2d(W + 4, 4, 3, padding=1)
        self.n, self.m = nn.BatchNorm2d(W), nn.BatchNorm2d(W + 4)

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.head = nn.Linear(2 * W, classes)

    def body(self, x):
        x = torch.cat([x, self.a(F.relu(self.n(x)))], 1)
        return torch.cat([x, self.b(F.relu(self.m(x)))], 1)


@entry(9 * 3 * W + 2 * 9 * W * W + CLASSES * W)
class Residual(Net):
    def make(self):
        self.a, self.b, self.n, self.m = conv(), conv(), nn.BatchNorm2d(W), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(x + self.m(self.b(F.relu(self.n(self.a(x))))))


@entry(9 * 3 * W + 2 * 9 * W * W + W * W + CLASSES * W)
class ResidualProjected(Residual):
    def make(self):
        super().make()
        self.p, self.o = nn.Conv2d(W, W, 1, bias=False), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.o(self.p(x)) + self.m(self.b(F.relu(self.n(self.a(x))))))


@entry(9 * 3 * W + 2 * 9 * W * W + CLASSES * W)
class Preactivated(Residual):
    def body(self, x):
        return x + self.b(F.relu(self.m(self.a(F.relu(self.n(x))))))


@entry(9 * 3 * W + 2 * 9 * W * W + CLASSES * W)
class Gated(Residual):
    def body(self, x):
        return self.n(self.a(x)) * self.m(self.b(x)).sigmoid()


@entry(9 * 3 * W + 9 * W * W + CLASSES * W)
class NormBeforeConvolution(Net):
    def make(self):
        self.n, self.a = nn.BatchNorm2d(W), conv(bias=True)

    def body(self, x):
        return F.relu(self.a(self.n(x)))


@entry()
class BiasFree(Net):
    stem_bias = False

    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x)))


@entry(9 * 3 * W + 9 * W * W + CLASSES * W)
class Listed(Net):
    def make(self):
        self.layers = nn.ModuleList([conv(), nn.BatchNorm2d(W)])
        self.acts = nn.ModuleDict({"relu": nn.ReLU(), "gelu": nn.GELU()})
        self.scales = nn.ParameterList([torch.ones(W, 1, 1)])

    def body(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.acts["gelu"](x * self.scales[0])


@entry(9 * 3 * W + 2 * 9 * W * W + CLASSES * W)
class Unused(Net):
    def make(self):
        self.a, self.n, self.spare, self.extra = conv(), nn.BatchNorm2d(W), conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x)))


@entry()
class Constant(Net):
    """Logits that are the same for all images."""

    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        return F.relu(self.n(self.a(x))) * 0


@entry(9 * 3 * W + 9 * W * W + CLASSES * W)
class DeadLayer(Net):
    def make(self):
        self.a, self.n = conv(bias=True), nn.BatchNorm2d(W)
        nn.init.zeros_(self.a.weight)

    def body(self, x):
        return F.relu(self.n(self.a(x)))


# Norms and activations


def _normed(name: str, norm: Callable[[int], nn.Module]) -> None:
    ENTRIES[name] = Entry(lambda shape, classes: chain(shape, classes, norm=norm), CHAIN)


class AlwaysEval(nn.BatchNorm2d):
    """A frozen norm, as detection networks have: statistics never move."""

    def train(self, mode=True):
        return super().train(False)


class ChannelsLastNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


_normed("cumulative", lambda n: nn.BatchNorm2d(n, momentum=None))
_normed("not_affine", lambda n: nn.BatchNorm2d(n, affine=False))
_normed("no_statistics", lambda n: nn.BatchNorm2d(n, track_running_stats=False))
_normed("frozen_norm", AlwaysEval)
_normed("large_epsilon", lambda n: nn.BatchNorm2d(n, eps=0.5, momentum=0.9))
_normed("group_norm", lambda n: nn.GroupNorm(2, n))
_normed("layer_norm", ChannelsLastNorm)
_normed("instance_norm", lambda n: nn.InstanceNorm2d(n, affine=True))
_normed("instance_statistics", lambda n: nn.InstanceNorm2d(n, affine=True, track_running_stats=True))
_normed("two_norms", lambda n: nn.Sequential(nn.BatchNorm2d(n), nn.BatchNorm2d(n)))
_normed("no_norm", lambda n: nn.Identity())


@entry()
def prelu(shape, classes):
    return chain(shape, classes, act=lambda: nn.PReLU(W))


@entry()
def sigmoid(shape, classes):
    """An activation that is not zero at zero: what a removed channel gave goes on."""
    return chain(shape, classes, act=nn.Sigmoid)


@entry(48 * 16 + 256 + CLASSES * 16)
def perceptron(shape, classes):
    norms = [nn.BatchNorm1d(16), nn.BatchNorm1d(16)]
    return nn.Sequential(
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(shape[0] * 16, 16), norms[0], nn.ReLU()),
        *(nn.Linear(16, 16, bias=False), norms[1], nn.Tanh(), nn.Linear(16, classes)),
    )


# What does not train, and other dtypes


@entry()
def frozen_backbone(shape, classes):
    model = chain(shape, classes)
    model[:6].requires_grad_(False)
    return model


@entry()
def frozen_layer(shape, classes):
    model = chain(shape, classes)
    model[3].requires_grad_(False)
    return model


@entry()
def frozen_first(shape, classes):
    model = chain(shape, classes)
    model[0].requires_grad_(False)
    return model


@entry()
def frozen_scales(shape, classes):
    model = chain(shape, classes)
    for norm in (model[1], model[4]):
        norm.requires_grad_(False)
    return model


@entry()
class Detached(Net):
    """A backbone without gradients, though its parameters ask for them."""

    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def body(self, x):
        with torch.no_grad():
            return F.relu(self.n(self.a(x)))


@entry(exact=False)
class MixedFloat64(Net):
    def make(self):
        self.a, self.n = conv(), nn.BatchNorm2d(W)

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.head.double()

    def forward(self, x):
        x = F.relu(self.n(self.a(F.relu(self.stem(x.float()))))).mean((2, 3))
        return self.head(x.double())
