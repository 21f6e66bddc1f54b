"""One optimizer step on one batch: the piece of training that a CUDA graph captures and that workers share out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pruners import masking
from pruners.masks import factor
from search_spaces import Trial
from trainables.datasets.batches import micro_batches
from trainables.sparse_training import Dynamics
from trainables.training.precision import arithmetic, autocast


class Masked:
    """Keep pruned weights at zero after each optimizer step, and let `dynamics` change what is pruned.

    The factors that weights are multiplied with stay at the same place in memory when masks change: a CUDA graph
    that was captured before goes on with the new ones.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: dict[str, Tensor],
        dynamics: Dynamics | None,
        steps: int,
    ) -> None:
        """`masks` is changed in place as the dynamics wants; `steps` were made so far."""
        self._model, self._optimizer, self._masks, self._dynamics = model, optimizer, masks, dynamics
        self.steps = steps
        weights = dict(model.named_parameters())
        self._factors = {name: factor(mask, weights[name]) for name, mask in masks.items() if name in weights}
        self.hold = masking(model, masks | self._factors)  # `masking` refuses a mask that names no weight
        self.hold()

    @property
    def changes(self) -> bool:
        """Whether masks may change while weights train."""
        return self._dynamics is not None

    def after_step(self) -> Mapping[str, Tensor]:
        """Count an optimizer step after which pruned weights were held; return the masks if they changed.

        To be called while the step's gradients are there: dynamics may grow weights by them.
        """
        self.steps += 1
        if self._dynamics is None:
            return {}
        masks = self._dynamics.update(self.steps, self._masks, self._model)
        if masks is None:
            return {}
        self._forget({name: mask & ~self._masks[name] for name, mask in masks.items()})
        self._masks.update(masks)
        for name, mask in masks.items():
            self._factors[name].copy_(mask)
        self.hold()
        return masks

    def _forget(self, grown: dict[str, Tensor]) -> None:
        """Momentum of grown weights is zero: what it holds was gathered while they could not move."""
        parameters = dict(self._model.named_parameters())
        for name, mask in grown.items():
            for value in self._optimizer.state[parameters[name]].values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value.masked_fill_(mask, 0)


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


class Stepper:
    """Train a model by one batch at a time.

    A step is `compute`, which a CUDA graph can hold, and then `finish`, which may change masks and runs on the host.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        masked: Masked,
        trial: Trial,
        average: Average | None = None,
    ) -> None:
        self._model, self._optimizer, self._masked, self._average = model, optimizer, masked, average
        self._trial = trial
        device = next(model.parameters()).device
        self._autocast, self._arithmetic = autocast(trial, device), arithmetic(trial, device)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step on images `x` [B, C, H, W] of classes `y` [B]; return what `gradients` does."""
        found = self.compute(x, y)
        self.finish()
        return found

    def compute(self, x: Tensor, y: Tensor) -> Tensor:
        """Move the weights, hold pruned ones at zero and follow with the average; return what `gradients` does.

        All of it happens on the device. On a GPU nothing waits for a number, so a CUDA graph can hold it.
        """
        self._optimizer.zero_grad(set_to_none=True)
        with self._arithmetic():
            found = self.gradients(x, y)
        self._optimizer.step()
        self._masked.hold()
        if self._average is not None:
            self._average.after_step()
        return found

    def finish(self) -> None:
        """Count the step, and change the masks where they are due."""
        changed = self._masked.after_step()
        if self._average is not None:
            self._average.hold(changed)

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the batch's gradients to those there are; returns float64 [2]: its summed loss, and its hits (top-1).

        In micro-batches their gradients add up to those of the mean loss of the whole batch; batch norm sees each
        by itself.
        """
        found: Tensor | int = 0
        count = self._trial.accumulate
        for images, classes in zip(micro_batches(x, count), micro_batches(y, count), strict=True):
            loss, hits = self._forward(self._model, images, classes, "mean")
            share = len(classes) / len(y)
            (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
            found = found + torch.stack([loss.detach().double() * len(classes), hits])
        assert isinstance(found, Tensor)
        return found

    def _forward(self, network: nn.Module, x: Tensor, y: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        """The loss that is to be made small, and float64 hits (top-1): both of no dimension."""
        with self._autocast():
            logits = network(x)
        if logits.dtype == torch.bfloat16:
            logits = logits.float()
        loss = F.cross_entropy(logits, y, reduction=reduction, label_smoothing=self._trial.label_smoothing)
        return loss, (logits.detach().argmax(1) == y).sum().double()
