"""Random networks from a description in JSON: the same description is always the same network.

A description is {"blocks": [...], "bridge": ..., "tail": [...], "head": ..., "frozen": [...]}: blocks of maps, how maps
become a sequence or a vector, and blocks of those. `tests.zoo.generator` draws them. Every block takes any number of
channels, so that any list of blocks is a network. The file needs torch alone, so that a trial can carry it as the
user's own architecture: `blocks.py:build` with the option `description`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils import prune as torch_prune

Facts = dict[str, Any]


class Half(nn.Module):
    """A parametrization of the user's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * 0.5


def _own(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Half())
    return layer


WRAPS: dict[str, Callable[[Any], Any]] = {
    "none": lambda layer: layer,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old_weight_norm": nn.utils.weight_norm,
    "old_spectral_norm": nn.utils.spectral_norm,
    "pruned": lambda layer: torch_prune.l1_unstructured(layer, "weight", amount=0.25),
    "own": _own,
}
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "none": lambda n: nn.Identity(),
    "batch_not_affine": lambda n: nn.BatchNorm2d(n, affine=False),
    "batch_cumulative": lambda n: nn.BatchNorm2d(n, momentum=None),
    "batch_no_statistics": lambda n: nn.BatchNorm2d(n, track_running_stats=False),
    "group": lambda n: nn.GroupNorm(2 if n % 2 == 0 else 1, n),
    "one_group": lambda n: nn.GroupNorm(1, n),
}
ACTS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "in_place": lambda: nn.ReLU(inplace=True),
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "prelu": nn.PReLU,
    "silu": nn.SiLU,
    "none": nn.Identity,
}
HOOKS: dict[str, Callable[[nn.Module], object]] = {
    "none": lambda layer: None,
    "looks": lambda layer: layer.register_forward_hook(lambda layer, given, made: None),
    "output": lambda layer: layer.register_forward_hook(lambda layer, given, made: made.relu() * 2 + 0.5),
    "input": lambda layer: layer.register_forward_pre_hook(lambda layer, given: (given[0].tanh(),)),
    "keywords": lambda layer: layer.register_forward_hook(lambda layer, x, named, made: made * 1.5, with_kwargs=True),
    "gradient": lambda layer: layer.register_full_backward_hook(lambda layer, given, came: (given[0],)),
}


class OwnConv(nn.Conv2d):
    """A subclass that changes nothing."""


class Doubling(nn.Conv2d):
    """A subclass with a forward pass of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


CLASSES_OF_CONV = {"plain": nn.Conv2d, "subclass": OwnConv, "own_forward": Doubling}
OTHERS = ("depthwise", "grouped", "transposed", "transposed_grouped", "dilated", "circular", "pointwise", "strided")
CONVS = (*CLASSES_OF_CONV, *OTHERS)
ODDITIES = ("training_norm", "only_training", "keeps", "asks", "dropout", "pool", "average", "shuffle", "in_place")


class Unit(nn.Module):
    """A layer with its norm and activation, in either order."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        kind, bias, out = d.get("conv", "plain"), d["bias"], d["width"]
        self.wide = n
        if kind == "depthwise":
            out = n
            layer: nn.Module = nn.Conv2d(n, n, 3, padding=1, groups=n, bias=bias)
        elif kind == "grouped":
            out = 2 * ((out + 1) // 2)
            groups = 2 if n % 2 == 0 else 1
            layer = nn.Conv2d(n, out, 3, padding=1, groups=groups, bias=bias)
        elif kind == "transposed":
            layer = nn.ConvTranspose2d(n, out, 3, stride=1, padding=1, bias=bias)
        elif kind == "transposed_grouped":
            out = 2 * ((out + 1) // 2)
            groups = 2 if n % 2 == 0 else 1
            layer = nn.ConvTranspose2d(n, out, 2, stride=2, output_padding=1, groups=groups, bias=bias)
        elif kind == "dilated":
            layer = nn.Conv2d(n, out, 3, padding=2, dilation=2, bias=bias)
        elif kind == "circular":
            layer = nn.Conv2d(n, out, 3, padding=1, padding_mode="circular", bias=bias)
        elif kind == "pointwise":
            layer = nn.Conv2d(n, out, 1, bias=bias)
        elif kind == "strided":
            layer = nn.Conv2d(n, out, 3, stride=2, padding=1, bias=bias)
        else:
            layer = CLASSES_OF_CONV[kind](n, out, 3, padding=1, bias=bias)
        self.out, self.before = out, d["order"] == "norm_first"
        self.weights = layer.weight.numel()
        self.layer = WRAPS[d["wrap"]](layer)
        HOOKS[d["hook"]](self.layer)
        self.norm = NORMS[d["norm"]](n if self.before else out)
        self.act = ACTS[d["act"]]()

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            return self.layer(self.act(self.norm(x)))
        return self.act(self.norm(self.layer(x)))


class Residual(nn.Module):
    """Two units around which the input goes: as it is, or through a convolution of its own."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        same = {
            "conv": d["conv"] if d["conv"] in ("plain", "depthwise", "dilated", "circular", "subclass") else "plain"
        }
        self.a = Unit(n, d | same)
        self.b = Unit(self.a.out, d | same | {"width": n})
        self.short: nn.Module = nn.Identity()
        self.weights = self.a.weights + self.b.weights
        if d["project"] or self.b.out != n:
            self.short = nn.Conv2d(n, self.b.out, 1, bias=False)
            self.weights += self.short.weight.numel()
        self.out, self.depth = self.b.out, d["stochastic"]

    def forward(self, x: Tensor) -> Tensor:
        if self.depth and self.training and torch.rand(()) < 0.3:
            return self.short(x)
        return F.relu(self.short(x) + self.b(self.a(x)))


class Dense(nn.Module):
    """A unit whose outputs are put beside its inputs."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.unit = Unit(n, d | {"conv": "plain", "width": 2})
        self.out, self.weights = n + self.unit.out, self.unit.weights

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.unit(x)], 1)


class Tied(nn.Module):
    """Two convolutions of one weight, or one that is called twice, with norms of their own or a shared one."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.a = nn.Conv2d(n, n, 3, padding=1, bias=d["bias"])
        self.b = nn.Conv2d(n, n, 3, padding=1, bias=d["bias"])
        if d["twice"]:
            self.b = self.a
        else:
            self.b.weight = self.a.weight
        self.n = NORMS[d["norm"]](n)
        self.m = self.n if d["shared_norm"] else NORMS[d["norm"]](n)
        self.out, self.weights = n, self.a.weight.numel()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.m(self.b(F.relu(self.n(self.a(x))))))


class Excite(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(n, 2), nn.Linear(2, n, bias=d["bias"])
        self.out, self.weights = n, 4 * n

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(F.relu(self.down(x.mean((2, 3))))).sigmoid()[:, :, None, None]


class Raw(nn.Module):
    """A convolution or a product with a parameter that belongs to no layer."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        # Over a single channel torch multiplies, instead of a product of matrices.
        self.how, self.out = "product" if d["how"] == "einsum" and n == 1 else d["how"], d["width"]
        shape = (self.out, n, 3, 3) if self.how == "convolution" else (n, self.out)
        self.w = nn.Parameter(torch.randn(shape) / 4)
        self.norm = NORMS[d["norm"]](self.out)
        self.weights = self.w.numel()

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "convolution":
            x = F.conv2d(x, self.w, padding=1)
        elif self.how == "product":
            x = (x.permute(0, 2, 3, 1) @ self.w).permute(0, 3, 1, 2)
        else:
            x = torch.einsum("nchw,cd->ndhw", x, self.w)
        return F.relu(self.norm(x))


class ByHand(nn.Module):
    """A layer that is never called: a function uses its weight."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(n, d["width"], 1, bias=d["bias"]), NORMS[d["norm"]](d["width"])
        self.out, self.weights = d["width"], n * d["width"]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(F.conv2d(x, self.layer.weight, self.layer.bias)))


class Odd(nn.Module):
    """A forward pass with a will of its own, without weights."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.what, self.out, self.weights, self.kept = d["what"], n, 0, None
        self.norm = nn.BatchNorm2d(n)
        self.drop = nn.Dropout2d(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.what)(x)

    def training_norm(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.training else self.norm(x) + x.tanh()

    def only_training(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.training else x

    def keeps(self, x: Tensor) -> Tensor:
        self.kept = x
        return x

    def asks(self, x: Tensor) -> Tensor:
        return x / 2 if float(x.detach().abs().max()) > 3 else x

    def dropout(self, x: Tensor) -> Tensor:
        return self.drop(x)

    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, ceil_mode=True)

    def average(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, ceil_mode=True)

    def shuffle(self, x: Tensor) -> Tensor:
        return x.flip(1).transpose(2, 3)

    def in_place(self, x: Tensor) -> Tensor:
        return x.clone().mul_(0.5).add_(0.1)


MAPS: dict[str, Callable[[int, Facts], Any]] = {
    "unit": Unit,
    "residual": Residual,
    "dense": Dense,
    "tied": Tied,
    "excite": Excite,
    "raw": Raw,
    "by_hand": ByHand,
    "odd": Odd,
}


class Recurrent(nn.Module):
    """LSTM, GRU or RNN over [N, L, D]."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.first, gates = d["first"], {"lstm": 4, "gru": 3, "rnn": 1}[d["cell"]]
        ways = 2 if d["both"] else 1
        cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[d["cell"]]
        self.r = cell(n, 4, batch_first=self.first, bidirectional=d["both"], bias=d["bias"])
        self.out, self.weights = 4 * ways, ways * gates * 4 * (n + 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.r(x)[0] if self.first else self.r(x.transpose(0, 1))[0].transpose(0, 1)


class Attention(nn.Module):
    """torch's attention with its norm, the batch first or second, keys of another width or not."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.out, self.first, self.across = 4, d["first"], d["across"]
        self.i, self.n = nn.Linear(n, 4), nn.LayerNorm(4)
        more = {"kdim": n, "vdim": n} if self.across else {}
        self.a = nn.MultiheadAttention(4, 2, batch_first=self.first, bias=d["bias"], **more)
        # torch makes one weight of the three where all widths are the same
        self.weights = 4 * n + 2 * 16 + (2 * 4 * n if self.across else 2 * 16)

    def forward(self, x: Tensor) -> Tensor:
        q = self.n(self.i(x))
        k = x if self.across else q
        given = [q, k, k] if self.first else [each.transpose(0, 1) for each in (q, k, k)]
        made = self.a(*given)[0]
        return q + (made if self.first else made.transpose(0, 1))


class Encoder(nn.Module):
    """torch's encoder layer, which has a fused path in eval mode."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.i = nn.Linear(n, 4)
        self.e = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=d["first"], norm_first=d["norm_first"])
        self.first, self.out, self.weights = d["first"], 4, 4 * n + 4 * 16 + 2 * 24

    def forward(self, x: Tensor) -> Tensor:
        x = self.i(x)
        return self.e(x) if self.first else self.e(x.transpose(0, 1)).transpose(0, 1)


class Rowwise(nn.Module):
    """A linear layer and its activation, in any of the ways there are, over [..., D]."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        layer = nn.Linear(n, d["width"], bias=d["bias"])
        stale = d["wrap"] in ("old_weight_norm", "old_spectral_norm", "pruned")  # they compute the weight in a hook
        self.how = "called" if stale else d["how"]
        self.out, self.weights = d["width"], layer.weight.numel()
        self.layer = WRAPS[d["wrap"]](layer)
        HOOKS[d["hook"]](self.layer)
        self.norm = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}.get(d["norm"], nn.Identity)(self.out)
        self.sequence = d["sequence"] and d["norm"] == "batch"
        self.act = ACTS[d["act"]]()

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "called":
            x = self.layer(x)
        elif self.how == "function":
            x = F.linear(x, self.layer.weight, self.layer.bias)
        else:
            x = x @ self.layer.weight.t()
        if self.sequence:
            return self.act(self.norm(x.transpose(1, 2)).transpose(1, 2))
        return self.act(self.norm(x))


class Mirrored(nn.Module):
    """A linear layer and its transposed: one weight, two uses."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        self.layer, self.out, self.weights = nn.Linear(n, d["width"], bias=d["bias"]), n, n * d["width"]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(self.layer(x)), self.layer.weight.t())


class Along(nn.Module):
    """A convolution along the sequence."""

    def __init__(self, n: int, d: Facts) -> None:
        super().__init__()
        layer = nn.Conv1d(n, d["width"], 3, padding=1, bias=d["bias"])
        self.out, self.weights = d["width"], layer.weight.numel()
        self.layer, self.norm = WRAPS[d["wrap"]](layer), nn.BatchNorm1d(self.out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.layer(x.transpose(1, 2)))).transpose(1, 2)


SEQUENCES: dict[str, Callable[[int, Facts], Any]] = {
    "recurrent": Recurrent,
    "attention": Attention,
    "encoder": Encoder,
    "rowwise": Rowwise,
    "mirrored": Mirrored,
    "along": Along,
}
BRIDGES = ("mean", "pool", "view", "reshape", "sequence", "rows", "volume")


class Generated(nn.Module):
    """The network of a description. `weights` is how many prunable weights its blocks say they have."""

    def __init__(self, shape: tuple[int, int, int], classes: int, d: Facts) -> None:
        super().__init__()
        n, self.bridge = shape[0], d["bridge"]
        blocks = []
        for each in d["blocks"]:
            blocks.append(MAPS[each["kind"]](n, each))
            n = blocks[-1].out
        self.blocks = nn.ModuleList(blocks)
        self.weights = sum(block.weights for block in blocks)
        self.volume: nn.Module = nn.Identity()
        if self.bridge == "volume":
            self.volume = nn.Conv3d(1, 2, (1, 3, 3), padding=(0, 1, 1))
            self.weights += 18
            n *= 2
        side = 2
        tail = []
        self.last = nn.Conv2d(n, n, 1) if self.bridge == "view" else None
        self.weights += n * n if self.last else 0
        if self.bridge in ("view", "reshape"):
            n *= side * side
        elif self.bridge == "rows":
            n *= side
        self.sequence = self.bridge in ("sequence", "rows")
        for each in d["tail"]:
            tail.append(SEQUENCES[each["kind"]](n, each | {"sequence": self.sequence}))
            n = tail[-1].out
        self.tail = nn.ModuleList(tail)
        self.weights += sum(block.weights for block in tail)
        head = nn.Linear(n, classes, bias=d["head"]["bias"])
        self.weights += head.weight.numel()
        self.head = WRAPS[d["head"]["wrap"]](head)
        self.side, self.in_place = side, d["in_place"]
        for number in d["frozen"]:
            parts = [*self.blocks, *self.tail]
            parts[number % len(parts)].requires_grad_(False)
        if d["hooked"]:
            self.register_forward_hook(lambda layer, given, made: made * 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            x = x.sub_(0.25)
        for block in self.blocks:
            x = block(x)
        if self.bridge == "mean":
            x = x.mean((2, 3))
        elif self.bridge == "pool":
            x = F.adaptive_max_pool2d(x, 1).flatten(1)
        elif self.bridge == "volume":
            x = F.relu(self.volume(x[:, None])).mean((3, 4)).flatten(1)
        elif self.bridge == "view":
            # As in tutorials. A convolution with weights in channels-last memory would give maps without such a view.
            x = self.last(F.interpolate(x, self.side).contiguous()).view(x.shape[0], -1)
        elif self.bridge == "reshape":
            x = F.adaptive_avg_pool2d(x, self.side).flatten(1)
        elif self.bridge == "sequence":
            x = F.adaptive_avg_pool2d(x, self.side).flatten(2).transpose(1, 2)
        else:
            x = F.adaptive_avg_pool2d(x, self.side).transpose(1, 2).flatten(2)
        for block in self.tail:
            x = block(x)
        return self.head(x.mean(1) if self.sequence else x)


def build(input_shape: tuple[int, int, int], num_classes: int, description: str = "") -> nn.Module:
    """Return the network of a description, its norms and biases as after training."""
    model = Generated(input_shape, num_classes, json.loads(description))
    with torch.no_grad():
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
