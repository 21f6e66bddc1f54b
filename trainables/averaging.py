"""The moving average of a network's weights over its training, which is tested in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Exponential moving averages, mean <- decay * mean + (1 - decay) * weight after each step.

    Of the weights that training starts from and all after them, and of batch norm's statistics, which belong to
    them. Pruned weights are zero there too.
    """

    def __init__(
        self, model: nn.Module, decay: float, masks: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> None:
        """Of `model` as it stands; `state` goes on from what `state_dict` gave, where it has anything."""
        self._model = model
        named = {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        self._live = {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
        self._mean = {name: tensor.clone() for name, tensor in self._live.items()}
        self._update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        for name, mean in self._mean.items() if state else ():
            mean.copy_(state[name])
        self.hold(masks)

    def after_step(self) -> None:
        """To be called once the weights have moved."""
        self._update(list(self._mean.values()), list(self._live.values()), None)

    def hold(self, masks: Mapping[str, Tensor]) -> None:
        """Zero the averages of pruned weights: to be called when masks have changed."""
        for name, mask in masks.items():
            self._mean[name].mul_(mask)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averages; afterwards, bit for bit, the weights that it had."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """The model takes the averages, and they what it had."""
        live, mean = list(self._live.values()), list(self._mean.values())
        had = [tensor.clone() for tensor in live]
        torch._foreach_copy_(live, mean)
        torch._foreach_copy_(mean, had)

    def state_dict(self) -> dict[str, Tensor]:
        """The model's own `state_dict`, with the averages in it."""
        with self.in_place():
            return {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
