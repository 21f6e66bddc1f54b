"""Compact form of a collapsed network: no input reaches the output, and the logits are the classifier's bias."""

from collections.abc import Mapping

from torch import Tensor, nn

from pruners.channels import Channels
from pruners.compaction.constants import connections, links
from pruners.compaction.frozen_zeros import lasting


class Constant(nn.Module):
    """Model with the same logits for all inputs: one parameter, under its name in the collapsed network."""

    def __init__(self, whole: nn.Module, bias: str) -> None:
        super().__init__()
        self._name = bias
        given = whole.get_parameter(bias)
        owner: nn.Module = self
        *path, key = bias.split(".")
        for part in path:
            child = nn.Module()
            owner.add_module(part, child)
            owner = child
        owner.register_parameter(key, nn.Parameter(given.detach().clone(), requires_grad=given.requires_grad))
        self.train(whole.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) for inputs (N, ...)."""
        return self.get_parameter(self._name).expand(len(x), -1)


def constant_logits(model: nn.Module, channels: Channels, masks: Mapping[nn.Module, Tensor]) -> str:
    """Return the name of the bias that all logits equal, also while the masked `model` trains; "" if there is none."""
    (end,) = [source for step in channels.steps if step.kind == "output" for source in step.sources]
    last = next(step for step in channels.steps if step.name == end)
    layer = last.module
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        return ""
    connected = connections(channels, masks)
    if links(layer, lasting(channels, connected)[last.sources[0]], connected).any():
        return ""
    return next(name for name, parameter in model.named_parameters() if parameter is layer.bias)
