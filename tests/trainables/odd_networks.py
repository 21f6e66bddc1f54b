"""Networks that run in plain PyTorch and that a reader of their structure misreads: `odd_networks.py:NAME`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


def block(inputs, outputs):
    """A convolution whose bias begins at zero, as compaction in training needs it, and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.zeros_(layer.bias)
    return layer, nn.BatchNorm2d(outputs)


class Small(nn.Module):
    """conv, norm, relu, conv, norm, relu, mean, linear: what the others are variations of."""

    def __init__(self, shape, classes, width=8):
        super().__init__()
        self.a, self.n = block(shape[0], width)
        self.b, self.m = block(width, width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = F.relu(self.n(self.a(x)))
        x = F.relu(self.m(self.b(x)))
        return self.head(x.mean((2, 3)))


def plain(shape, classes):
    return Small(shape, classes)


def deep_channels(shape, classes):
    """Norms wide enough for torch's own kernels."""
    return Small(shape, classes, width=40)


def tied(shape, classes):
    model = Small((8, *shape[1:]), classes)
    model.b.weight = model.a.weight
    return nn.Sequential(nn.Conv2d(shape[0], 8, 1), model)


def in_one_memory(shape, classes):
    model = Small((8, *shape[1:]), classes)
    model.b.weight = nn.Parameter(model.a.weight.data)
    return nn.Sequential(nn.Conv2d(shape[0], 8, 1), model)


def tied_norms(shape, classes):
    model = Small(shape, classes)
    model.m.weight = model.n.weight
    return model


def hooked(shape, classes):
    model = Small(shape, classes)
    model.a.register_forward_hook(lambda layer, given, made: 5 * made.relu() + 1)
    return model


def hooked_before(shape, classes):
    model = Small(shape, classes)
    model.n.register_forward_pre_hook(lambda norm, given: (given[0].abs(),))
    return model


def hooked_norm(shape, classes):
    model = Small(shape, classes)
    model.m.register_forward_hook(lambda norm, given, made: made + norm.running_mean.mean())
    return model


def hooked_backward(shape, classes):
    model = Small(shape, classes)
    model.b.register_full_backward_hook(lambda layer, of_inputs, of_outputs: (0.5 * of_inputs[0],))
    return model


def hooked_weights(shape, classes):
    model = Small(shape, classes)
    model.a.bias.register_hook(lambda gradient: gradient + 0.1)
    model.b.weight.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    return model


def hooked_block(shape, classes):
    (conv, norm), (other, last) = block(shape[0], 8), block(8, 8)
    inner = nn.Sequential(conv)
    inner.register_forward_hook(lambda layer, given, made: made * 2 + 1)
    return nn.Sequential(inner, norm, nn.ReLU(), other, last, nn.ReLU(), *_end(classes))


def remembering(shape, classes):
    """Holds activations, so that it cannot be copied."""
    model = Small(shape, classes)
    model.b.register_forward_hook(lambda layer, given, made: setattr(layer, "seen", made))
    return model


def weight_normed(shape, classes):
    model = Small(shape, classes)
    weight_norm(model.a)
    return model


def weight_normed_the_old_way(shape, classes):
    model = Small(shape, classes)
    old_weight_norm(model.b)
    return model


def spectral(shape, classes):
    model = Small(shape, classes)
    spectral_norm(model.b)
    return model


class _Twice(Small):
    def forward(self, x):
        x = F.relu(self.n(self.a(x)))
        x = F.relu(self.m(self.b(x)))
        x = F.relu(self.m(self.b(x)))
        return self.head(x.mean((2, 3)))


def twice(shape, classes):
    return _Twice(shape, classes)


class _Modes(Small):
    def forward(self, x):
        x = self.a(x)
        x = F.relu(self.n(x)) if self.training else F.relu(self.n(x.abs()))
        x = self.b(x)
        x = self.m(x.tanh()) if self.training else self.m(x)
        return self.head(x.mean((2, 3)))


def two_modes(shape, classes):
    return _Modes(shape, classes)


class _NormByHand(Small):
    def forward(self, x):
        n = self.n
        x = F.batch_norm(self.a(x), n.running_mean, n.running_var, n.weight, n.bias, self.training)
        return self.head(F.relu(self.m(self.b(F.relu(x)))).mean((2, 3)))


def norm_by_hand(shape, classes):
    return _NormByHand(shape, classes)


class _LayerByHand(Small):
    def forward(self, x):
        x = F.relu(self.n(self.a(x)) + F.conv2d(x, self.a.weight, padding=1))
        return self.head(F.relu(self.m(self.b(x))).mean((2, 3)))


def layer_by_hand(shape, classes):
    return _LayerByHand(shape, classes)


class _Penalised(Small):
    """Holds a weight in bounds as it goes, as Wasserstein critics do."""

    def forward(self, x):
        with torch.no_grad():
            self.b.weight.clamp_(-0.05, 0.05)
        return super().forward(x)


def clipped(shape, classes):
    return _Penalised(shape, classes)


def frozen(shape, classes):
    model = Small(shape, classes)
    for weight in (*model.a.parameters(), model.n.weight, model.m.bias):
        weight.requires_grad_(False)
    return model


class _StillNorm(Small):
    def train(self, mode=True):
        super().train(mode)
        self.n.eval()
        return self


def still_norm(shape, classes):
    return _StillNorm(shape, classes)


class _InPlace(Small):
    def forward(self, x):
        return super().forward(x.sub_(0.5).mul_(2))


def in_place(shape, classes):
    return _InPlace(shape, classes)


def nested(shape, classes):
    return nn.Sequential(nn.Sequential(nn.Identity(), nn.Sequential(Small(shape, 6))), nn.ReLU(), nn.Linear(6, classes))


def _end(classes):
    return nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes)


def dropped(shape, classes):
    conv, norm = block(shape[0], 8)
    return nn.Sequential(
        conv, norm, nn.ReLU(), nn.Dropout2d(0.3), *_end(classes)[:2], nn.Dropout(0.5), _end(classes)[2]
    )


class _Dropping(Small):
    def forward(self, x):
        x = F.dropout(F.relu(self.n(self.a(x))), 0.3, self.training)
        return self.head(F.relu(self.m(self.b(x))).mean((2, 3)))


def dropped_by_hand(shape, classes):
    return _Dropping(shape, classes)


def _with_norm(make):
    def build(shape, classes):
        model = Small(shape, classes)
        model.n = make(8)
        return model

    return build


cumulative = _with_norm(lambda width: nn.BatchNorm2d(width, momentum=None))
without_statistics = _with_norm(lambda width: nn.BatchNorm2d(width, track_running_stats=False))
without_weights = _with_norm(lambda width: nn.BatchNorm2d(width, affine=False))
grouped_norm = _with_norm(lambda width: nn.GroupNorm(2, width))
instance_norm = _with_norm(lambda width: nn.InstanceNorm2d(width, affine=True, track_running_stats=True))


class _Line(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.a, self.n = nn.Conv1d(shape[0] * shape[1], 8, 3), nn.BatchNorm1d(8)
        self.b, self.m = nn.Linear(8, 12), nn.BatchNorm1d(12)
        self.head = nn.Linear(12, classes)

    def forward(self, x):
        x = F.relu(self.n(self.a(x.flatten(1, 2)))).mean(2)
        return self.head(F.relu(self.m(self.b(x))))


def one_dimension(shape, classes):
    return _Line(shape, classes)


class _Solid(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.a, self.n, self.head = nn.Conv3d(1, 6, 3), nn.BatchNorm3d(6), nn.Linear(6, classes)

    def forward(self, x):
        return self.head(F.relu(self.n(self.a(x[:, None]))).mean((2, 3, 4)))


def three_dimensions(shape, classes):
    return _Solid(shape, classes)


class _LeNet(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.c, self.n = block(shape[0], 6)
        self.size = 6 * (shape[1] // 4) * (shape[2] // 4)
        self.f = nn.Linear(self.size, classes)

    def forward(self, x):
        return self.f(F.max_pool2d(F.relu(self.n(self.c(x))), 4).view(-1, self.size))


def view_after_convolution(shape, classes):
    return _LeNet(shape, classes)


class _Strides(Small):
    def forward(self, x):
        x = F.relu(self.n(self.a(x)))
        n, c, h, w = x.shape
        x = torch.as_strided(x, (n, c, h, w), (c * h * w, h * w, w, 1))  # right of what is contiguous alone
        return self.head(F.relu(self.m(self.b(x))).mean((2, 3)))


def strided(shape, classes):
    return _Strides(shape, classes)


class _Doubling(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) ** 2


def own_layer(shape, classes):
    model = Small(shape, classes)
    model.b = _Doubling(8, 8, 3, padding=1)
    nn.init.constant_(model.m.bias, 0.1)  # at zero rounding would decide whether a channel without weights has a slope
    return model


def own_forward(shape, classes):
    model = Small(shape, classes)
    convolve, norm = model.a.forward, model.m.forward
    model.a.forward = lambda x: convolve(x).relu()
    model.m.forward = lambda x: norm(x) * 2
    return model


class _Asking(Small):
    def forward(self, x):
        return super().forward(x / 100 if float(x.abs().max()) > 100 else x)


def asking(shape, classes):
    return _Asking(shape, classes)


class _Counting(Small):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1 if self.calls % 2 else 2)


def counting(shape, classes):
    return _Counting(shape, classes)


class _Single(Small):
    """Runs in float32 alone."""

    def forward(self, x):
        return super().forward(x + torch.ones(1, dtype=torch.float32) * torch.zeros(x.shape[1:])[None])

    def double(self):
        raise RuntimeError("float32 only")


def single_precision(shape, classes):
    return _Single(shape, classes)


def with_unused_layer(shape, classes):
    model = Small(shape, classes)
    model.unused, model.idle = nn.Linear(3, 3), nn.BatchNorm2d(3)
    return model
