"""Which parameters of a model compete to be kept, and what they are called."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from pruners.errors import PruningError, require_known

LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)
_DENSE = "pruners_keep_dense"  # an attribute of a module: copies of the model have it too, those of a parameter not


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers by parameter name, in the model's order.

    Biases and normalisation never appear, nor what `keep_dense` set aside. A weight that several modules share
    appears once, under the name `model.named_parameters()` gives it, so that every name works with a state dict or
    an optimizer as well.
    """
    dense = {id(module.weight) for module in model.modules() if getattr(module, _DENSE, False)}
    return {name: weight for name, weight in layer_weights(model).items() if id(weight) not in dense}


def layer_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """All weights of convolutions and linear layers, those kept dense included; otherwise as `prunable`."""
    weights = {id(module.weight) for module in model.modules() if isinstance(module, LAYERS)}
    return {name: weight for name, weight in model.named_parameters() if id(weight) in weights}


def keep_dense(model: nn.Module, patterns: Iterable[str]) -> None:
    """From now on `prunable(model)` leaves out the weights whose names match a pattern ("fc.weight", "stem.*").

    In place, and deep copies remember it. Compressions then count the other weights alone, as in the published
    SynFlow program's `dense_classifier`. Filter granularity keeps such a layer whole: its own filters stay, and so
    do the channels that it reads.
    Raises PruningError for a pattern that matches none of the model's weights, and if nothing is left to prune.
    """
    weights = layer_weights(model)
    chosen: set[int] = set()
    for pattern in patterns:
        found = [name for name in weights if fnmatchcase(name, pattern)]
        if not found:
            require_known("weight to keep dense", pattern, weights)
        chosen |= {id(weights[name]) for name in found}
    for module in model.modules():
        if isinstance(module, LAYERS) and id(module.weight) in chosen:
            setattr(module, _DENSE, True)
    if chosen and not prunable(model):
        raise PruningError("Every layer is kept dense, so there is no weight to prune.")
