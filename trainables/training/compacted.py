"""Training the smaller network in a masked one's place, where that gives the same numbers."""

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

State = dict[str, Any]  # a checkpoint, as `trainables.training.loop.train` saves it and goes on from it
Tensors = Mapping[str, Tensor]
WORTH = 0.9  # of the multiply-accumulates: where more are left than that, a network is trained as it is


class Smaller(nn.Module):
    """A network in a masked one's place: the part of it that matters, and the weights that only decay.

    Kept weights of removed channels have gradients of zero. They move by weight decay all the same, by the same
    optimizer, so that all weights end as they do in the whole network. Pruned weights are no part of either.
    """

    def __init__(self, whole: nn.Module, masks: Tensors, compacted: Compacted) -> None:
        """`whole` is masked, and otherwise left as it is until `finish`."""
        super().__init__()
        apply_masks(whole, masks)
        self.net, self._compacted, self._whole = compacted.model, compacted, [whole]  # in a list: no submodule
        self._away: dict[str, Tensor] = {}  # parameter -> True where a weight is kept, but not in the smaller network
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
        """The network in whose place this is."""
        return self._whole[0]

    @property
    def blind(self) -> bool:
        """Whether the logits are the same for all images, so that no image needs to be seen."""
        return self._compacted.constant

    def forward(self, x: Tensor) -> Tensor:
        """The logits. While training the rest adds nothing to them, which gives it its gradient of zeros."""
        logits: Tensor = self.net(x)
        return logits + self.rest[:0].sum() if self.training else logits

    def narrow(self, state: State) -> State:
        """A checkpoint of the whole network as one of this."""
        moments = _by_key(state["optimizer"], list(self._away))
        small = {key: self.part(values) for key, values in moments.items()}
        return state | {
            "model": self.part(state["model"]),
            "optimizer": _by_parameter(small, [name for name, _ in self.named_parameters()], state["optimizer"]),
            **({"average": self.part(state["average"])} if "average" in state else {}),
        }

    def widen(self, state: State) -> State:
        """A checkpoint of this as one of the whole network."""
        moments = _by_key(state["optimizer"], [name for name, _ in self.named_parameters()])
        zeros = {name: torch.zeros_like(parameter) for name, parameter in self.whole.named_parameters()}
        whole = {key: self._fill(values, zeros) for key, values in moments.items()}
        return state | {
            "model": self._fill(state["model"], self.whole.state_dict()),
            "optimizer": _by_parameter(whole, list(self._away), state["optimizer"]),
            **({"average": self._fill(state["average"], self.whole.state_dict())} if "average" in state else {}),
        }

    def pushed(self, state: State) -> bool:
        """Does the whole network's checkpoint move a number of the rest that is zero, by momentum or in its average?

        Such a zero is not to be relied on. After a rewind there may be one; as training leaves it there is none.
        """
        moments = [self._left(values) for values in _by_key(state["optimizer"], list(self._away)).values()]
        moments += [self._left(state["average"])] if "average" in state else []
        return any(bool(values[self.rest == 0].any()) for values in moments if values.dim())

    def finish(self) -> None:
        """Give the whole network what this has learnt."""
        self.whole.load_state_dict(self._fill(self.state_dict(), self.whole.state_dict()))

    def part(self, tensors: Tensors) -> dict[str, Tensor]:
        """Return what this has of tensors shaped like the whole network's, by its own names."""
        parts = {f"net.{name}": self._compacted.take(name, tensor) for name, tensor in tensors.items()}
        return {name: part for name, part in parts.items() if part is not None} | {"rest": self._left(tensors)}

    def _left(self, tensors: Tensors) -> Tensor:
        if all(tensor.dim() == 0 for tensor in tensors.values()):  # a count of steps, the same for all
            return next(iter(tensors.values())).clone()  # each weight counts up one of its own
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
) -> tuple[Smaller | None, str]:
    """What to train in place of `model` under `masks`, or None if it is trained as it is; and a line on that.

    `state` is the checkpoint that its training goes on from, of the whole network.

    Decided by the numbers alone, so that a trial is the same everywhere, and goes on as it began.
    """
    try:
        compacted = compact(model, masks, input_shape, training=True)
        left = 1.0 if compacted.reason else _left(compacted, model, input_shape)
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # noqa: BLE001 - a network that cannot be followed must not cost a trial its result
        return None, f"whole: {in_one_line(error)}"
    if compacted.reason:
        return None, f"whole: {compacted.reason}"
    memories = [memory_of(weight) for _, weight in model.named_parameters(remove_duplicate=False)]
    if len(set(memories)) < len(memories):
        return None, "whole: its layers share weights."
    if left > WORTH:
        return None, f"whole: {left:.0%} of its multiply-accumulates would be left."
    instead = Smaller(model, masks, compacted)
    if state is not None and instead.pushed(state):
        return None, "whole: momentum from before it was pruned moves what would be removed."
    return instead, "its last bias alone" if instead.blind else f"compacted: {left:.1%} of the multiply-accumulates"


def _left(compacted: Compacted, model: nn.Module, input_shape: Shape) -> float:
    """Return the share of the model's multiply-accumulates that its compacted form has."""
    return 0.0 if compacted.constant else _work(compacted.model, input_shape) / _work(model, input_shape)


def _work(model: nn.Module, input_shape: Shape) -> int:
    return sum(map(sum, macs(model, input_shape).values()))


def _by_key(optimizer: State, names: list[str]) -> dict[str, dict[str, Tensor]]:
    """What an optimizer remembers, turned: key ("momentum_buffer") -> parameter name -> tensor."""
    moments: dict[str, dict[str, Tensor]] = {}
    for number, values in optimizer["state"].items():
        for key, value in values.items():
            if value is not None:
                moments.setdefault(key, {})[names[number]] = value
    return moments


def _by_parameter(moments: Mapping[str, Tensors], names: list[str], like: State) -> State:
    """The way back of `_by_key`, in the form of an optimizer's `state_dict`."""
    known = {
        number: {key: values[name] for key, values in moments.items() if name in values}
        for number, name in enumerate(names)
    }
    groups = [group | {"params": list(range(len(names)))} for group in like["param_groups"]]
    return {"state": {number: values for number, values in known.items() if values}, "param_groups": groups}
