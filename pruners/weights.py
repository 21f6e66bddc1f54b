"""Which parameters of a model compete to be kept, and what they are called."""

from torch import nn

LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers by parameter name, in the model's order.

    Biases and normalisation never appear. A weight that several modules share appears once, under the name
    `model.named_parameters()` gives it, so that every name works with a state dict or an optimizer as well.
    """
    weights = {id(module.weight) for module in model.modules() if isinstance(module, LAYERS)}
    return {name: weight for name, weight in model.named_parameters() if id(weight) in weights}
