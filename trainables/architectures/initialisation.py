"""Weight initialisations of the published programs, by the names that a space may use."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from search_spaces import SpaceError

Draw = Callable[[Tensor, int], object]  # fills a tensor in place; the number is the layer's fan-in
TRUNCATED = 0.87962566103423978  # standard deviation of a standard normal that is truncated at -2 and 2


def _zero(tensor: Tensor, _: int) -> None:
    nn.init.zeros_(tensor)


def _torch(tensor: Tensor, fan_in: int) -> None:
    nn.init.uniform_(tensor, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


def _fan_in(tensor: Tensor, _: int) -> None:
    nn.init.kaiming_normal_(tensor)


def _fan_out(tensor: Tensor, _: int) -> None:
    nn.init.kaiming_normal_(tensor, mode="fan_out", nonlinearity="relu")


def _xavier(tensor: Tensor, _: int) -> None:
    nn.init.xavier_normal_(tensor)


def _small(tensor: Tensor, _: int) -> None:
    nn.init.normal_(tensor, 0, 0.01)


def _variance_scaling(tensor: Tensor, fan_in: int) -> None:
    std = 1 / math.sqrt(fan_in) / TRUNCATED
    nn.init.trunc_normal_(tensor, 0, std, -2 * std, 2 * std)


@dataclass(frozen=True)
class Initialisation:
    """Initialisation: how to draw weight and bias of convolutions and linear layers, and the scale of batch norms."""

    summary: str
    convolution: tuple[Draw, Draw]
    linear: tuple[Draw, Draw]
    norm: Callable[[Tensor], object] | None = None  # None: scales stay as the architecture sets them, mostly one


# Fan-in (He et al. 2015, eq. 10) or fan-out decides which weights pruning at initialisation keeps: it sets the size
# (magnitude) of a layer's weights, and so the share of them that survives a global threshold.
INITIALISATIONS = {
    "torch-default": Initialisation(
        "uniform within 1 / sqrt(fan-in), PyTorch's own; SynFlow's fully connected network",
        (_torch, _torch),
        (_torch, _torch),
    ),
    "torchvision": Initialisation(
        "convolutions N(0, 2 / fan-out), linear layers PyTorch's own: torchvision's ResNets, SynFlow's ResNet-18",
        (_fan_out, _zero),
        (_torch, _torch),
    ),
    "grasp": Initialisation(
        "convolutions N(0, 2 / fan-out), linear layers N(0, 0.01²): GraSP's networks, torchvision's VGG",
        (_fan_out, _zero),
        (_small, _zero),
    ),
    "synflow": Initialisation(
        "all N(0, 2 / fan-in), biases zero: SynFlow's VGG and ResNet-20", (_fan_in, _zero), (_fan_in, _zero)
    ),
    "kaiming-fan-in": Initialisation(
        "all N(0, 2 / fan-in), biases PyTorch's own: NTK-SAP's networks, FORCE's ResNets",
        (_fan_in, _torch),
        (_fan_in, _torch),
    ),
    "open-lth": Initialisation(
        "as kaiming-fan-in, and scales of batch norms uniform in [0, 1): open_lth's networks",
        (_fan_in, _torch),
        (_fan_in, _torch),
        nn.init.uniform_,
    ),
    "xavier": Initialisation(
        "all N(0, 2 / (fan-in + fan-out)), biases PyTorch's own: mil-ad's SNIP while it scores",
        (_xavier, _torch),
        (_xavier, _torch),
    ),
    "snip": Initialisation(
        "all normal of variance 1 / fan-in, cut at two deviations, biases zero: the SNIP authors' variance scaling",
        (_variance_scaling, _zero),
        (_variance_scaling, _zero),
    ),
}


def initialise(model: nn.Module, name: str) -> None:
    """Redraw the weights and biases of all convolutions and linear layers, in place, by the initialisation `name`.

    Draws come from torch's global generator. Other layers stay as they are, except batch norms if the initialisation
    draws their scales.

    Raises:
        SpaceError: if there is no such layer, or one computes its weight from others (weight norm).
    """
    how, drawn = INITIALISATIONS[name], 0
    for path, module in model.named_modules():
        if isinstance(module, _ConvNd | nn.Linear):
            if "weight" not in module._parameters:
                raise SpaceError(
                    f"init: '{name}' is not allowed; layer '{path}' computes its weight from other parameters"
                )
            weight, bias = how.convolution if isinstance(module, _ConvNd) else how.linear
            fan_in = module.weight[0].numel()
            weight(module.weight, fan_in)
            if module.bias is not None:
                bias(module.bias, fan_in)
            drawn += 1
        elif how.norm and isinstance(module, _BatchNorm) and module.weight is not None:
            how.norm(module.weight)
    if not drawn:
        raise SpaceError(f"init: '{name}' is not allowed; the network has no convolution or linear layer to initialise")
