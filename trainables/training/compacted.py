"""Training of a smaller network in place of a masked one, where that gives the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pruners import Compacted, apply_masks, compact
from pruners.errors import OF_THE_MACHINE, in_one_line
from trainables.architectures import Shape
from trainables.profiling import macs
from trainables.training.evaluation import memory_of

State = dict[str, Any]  # a checkpoint, as `trainables.training.loop.train` saves and loads it
Tensors = Mapping[str, Tensor]
WORTH = 0.9  # share of the multiply-accumulates: if more are left, the whole network is trained


class CompactedTraining(nn.Module):
    """Network trained in place of a masked one: the compacted network, and the weights that only decay.

    Kept weights of removed channels have gradients of zero. Weight decay still moves them, through the same optimizer,
    so that all weights end as they do in the whole network. Pruned weights are in neither part.
    """

    def __init__(self, whole: nn.Module, masks: Tensors, compacted: Compacted) -> None:
        """Apply `masks` to `whole` in place; otherwise leave it unchanged until `finish`."""
        super().__init__()
        apply_masks(whole, masks)
        self.net, self._compacted, self._whole = compacted.model, compacted, [whole]  # in a list, so no submodule
        self._away: dict[str, Tensor] = {}  # parameter -> True where a kept weight is not in the smaller network
        for name, parameter in whole.named_parameters():
            kept = masks.get(name, torch.ones_like(parameter, dtype=torch.bool)).logical_and(
                torch.tensor(parameter.requires_grad, device=parameter.device)
            )
            inside = compacted.take(name, kept)
            self._away[name] = kept if inside is None else compacted.put(name, kept, torch.zeros_like(inside))
        self._sizes = [int(away.count_nonzero()) for away in self._away.values()]
        self.rest = nn.Parameter(self._left(whole.state_dict()))
        parts = {f"net.{name}": compacted.take(name, mask) for name, mask in masks.items()}
        self.masks = {name: part for name, part in parts.items() if part is not None}

    @property
    def whole(self) -> nn.Module:
        """The whole network that this one replaces."""
        return self._whole[0]

    @property
    def blind(self) -> bool:
        """True if the logits are the same for all images, so that no image is needed."""
        return self._compacted.constant

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits. In train mode an empty sum over `rest` is added, which gives it a gradient of zeros."""
        logits: Tensor = self.net(x)
        return logits + self.rest[:0].sum() if self.training else logits

    def narrow(self, state: State) -> State:
        """Return a checkpoint of the whole network as a checkpoint of this network."""
        moments = _by_key(state["optimizer"], list(self._away))
        small = {key: self.part(values) for key, values in moments.items()}
        return state | {
            "model": self.part(state["model"]),
            "optimizer": _by_parameter(small, [name for name, _ in self.named_parameters()], state["optimizer"]),
            **({"average": self.part(state["average"])} if "average" in state else {}),
        }

    def widen(self, state: State) -> State:
        """Return a checkpoint of this network as a checkpoint of the whole network."""
        moments = _by_key(state["optimizer"], [name for name, _ in self.named_parameters()])
        zeros = {name: torch.zeros_like(parameter) for name, parameter in self.whole.named_parameters()}
        whole = {key: self._fill(values, zeros) for key, values in moments.items()}
        return state | {
            "model": self._fill(state["model"], self.whole.state_dict()),
            "optimizer": _by_parameter(whole, list(self._away), state["optimizer"]),
            **({"average": self._fill(state["average"], self.whole.state_dict())} if "average" in state else {}),
        }

    def pushed(self, state: State) -> bool:
        """Return True if the whole network's checkpoint has momentum or an average for a number of `rest` that is zero.

        Such a number would not stay zero. This can happen after a rewind, but not in a checkpoint of ongoing training.
        """
        moments = [self._left(values) for values in _by_key(state["optimizer"], list(self._away)).values()]
        moments += [self._left(state["average"])] if "average" in state else []
        return any(bool(values[self.rest == 0].any()) for values in moments if values.dim())

    def finish(self) -> None:
        """Copy the trained weights into the whole network."""
        self.whole.load_state_dict(self._fill(self.state_dict(), self.whole.state_dict()))

    def part(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return this network's part of tensors that are shaped like the whole network's, by its own names."""
        parts = {f"net.{name}": self._compacted.take(name, tensor) for name, tensor in tensors.items()}
        return {name: part for name, part in parts.items() if part is not None} | {"rest": self._left(tensors)}

    def _left(self, tensors: Tensors) -> Tensor:
        if all(tensor.dim() == 0 for tensor in tensors.values()):  # a step count, the same for all
            return next(iter(tensors.values())).clone()  # a clone, because each weight's count is incremented in place
        return torch.cat([tensors[name][away] for name, away in self._away.items() if name in tensors])

    def _fill(self, small: Tensors, whole: Tensors) -> dict[str, Tensor]:
        rest = small["rest"]
        if rest.dim() == 0:
            return {name: rest.clone() for name in whole}
        chunks = dict(zip(self._away, torch.split(rest, self._sizes), strict=True))
        filled = {}
        for name, tensor in whole.items():
            part = small.get(f"net.{name}")
            filled[name] = tensor.clone() if part is None else self._compacted.put(name, tensor, part)
            if name in chunks:
                filled[name][self._away[name]] = chunks[name]
        return filled


def smaller(
    model: nn.Module, masks: Tensors, input_shape: Shape, state: State | None = None
) -> tuple[CompactedTraining | None, str]:
    """Return the network to train in place of `model` under `masks`, None to train `model` itself; and a line on that.

    `state` is the whole network's checkpoint from which training continues, if there is one.

    The decision depends on the numbers alone, so it is the same on every machine and after every restart.
    """
    try:
        compacted = compact(model, masks, input_shape, training=True)
        left = 1.0 if compacted.reason else _left(compacted, model, input_shape)
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # noqa: BLE001 - a network that cannot be traced must not fail the trial
        return None, f"whole: {in_one_line(error)}"
    if compacted.reason:
        return None, f"whole: {compacted.reason}"
    memories = [memory_of(weight) for _, weight in model.named_parameters(remove_duplicate=False)]
    if len(set(memories)) < len(memories):
        return None, "whole: its layers share weights."
    if left > WORTH:
        return None, f"whole: {left:.0%} of its multiply-accumulates would be left."
    instead = CompactedTraining(model, masks, compacted)
    if state is not None and instead.pushed(state):
        return None, "whole: momentum from before pruning would move removed weights."
    return instead, "its last bias only" if instead.blind else f"compacted: {left:.1%} of the multiply-accumulates"


def _left(compacted: Compacted, model: nn.Module, input_shape: Shape) -> float:
    """Return the share of the model's multiply-accumulates that is left in its compacted form."""
    return 0.0 if compacted.constant else _work(compacted.model, input_shape) / _work(model, input_shape)


def _work(model: nn.Module, input_shape: Shape) -> int:
    return sum(map(sum, macs(model, input_shape).values()))


def _by_key(optimizer: State, names: list[str]) -> dict[str, dict[str, Tensor]]:
    """Return an optimizer's state as key ("momentum_buffer") -> parameter name -> tensor."""
    moments: dict[str, dict[str, Tensor]] = {}
    for number, values in optimizer["state"].items():
        for key, value in values.items():
            if value is not None:
                moments.setdefault(key, {})[names[number]] = value
    return moments


def _by_parameter(moments: Mapping[str, Tensors], names: list[str], like: State) -> State:
    """Undo `_by_key`: return the state in the form of an optimizer's `state_dict`."""
    known = {
        number: {key: values[name] for key, values in moments.items() if name in values}
        for number, name in enumerate(names)
    }
    groups = [group | {"params": list(range(len(names)))} for group in like["param_groups"]]
    return {"state": {number: values for number, values in known.items() if values}, "param_groups": groups}
