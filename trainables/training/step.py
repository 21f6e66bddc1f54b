"""One optimizer step on one batch: the part of training that a CUDA graph captures and that workers divide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pruners import masking
from pruners.masks import factor
from search_spaces import Trial
from trainables.datasets.batches import split_batch
from trainables.sparse_training import Dynamics, Latent
from trainables.training.optimizer import step_of
from trainables.training.precision import arithmetic, autocast


class Masked:
    """Masks of a training: pruned weights are set to zero after each optimizer step, and `dynamics` may change masks.

    The factors that weights are multiplied with stay at the same place in memory when masks change, so that a CUDA
    graph captured before uses the new ones.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        masks: dict[str, Tensor],
        dynamics: Dynamics | None,
        steps: int,
    ) -> None:
        """Set pruned weights to zero. `dynamics` changes `masks` in place; `steps` is the number of steps so far."""
        self._model, self._optimizer, self._masks, self._dynamics = model, optimizer, masks, dynamics
        self.steps = steps
        self._latent = dynamics if isinstance(dynamics, Latent) else None
        self.keeps_pruned = self._latent is not None and self._latent.keeps_pruned
        self._weights = weights = dict(model.named_parameters())
        self._factors = {name: factor(mask, weights[name]) for name, mask in masks.items() if name in weights}
        self._prune = masking(model, masks | self._factors)  # `masking` refuses a mask that names no weight
        self.hold()

    @property
    def changes(self) -> bool:
        """True if masks may change during training."""
        return self._dynamics is not None

    def hold(self) -> None:
        """Set pruned weights to zero, unless the dynamics keeps their values."""
        if not self.keeps_pruned:
            self._prune()
        if self._latent is not None:
            with torch.no_grad():
                self._latent.hold(self._weights)

    @contextmanager
    def seen_forward(self) -> Iterator[None]:
        """Put what the forward pass sees into the model inside the block; afterwards restore the weights, bit for bit.

        Gradients, if the block has made any, become those of the restored weights.
        """
        if self._latent is None:
            yield
            return
        with torch.no_grad():
            kept = {name: self._weights[name].clone() for name in self._masks}
            self._latent.show(self._weights)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in kept.items():
                    self._weights[name].copy_(weight)
        if any(self._weights[name].grad is not None for name in kept):
            with torch.no_grad():
                self._latent.pull_back(self._weights)

    def finish(self) -> None:
        """Leave in the model what the forward pass sees, with pruned weights at zero."""
        if self._latent is not None:
            with torch.no_grad():
                self._latent.show(self._weights)
        self._prune()

    def after_step(self) -> Mapping[str, Tensor]:
        """Count an optimizer step and update the masks if `dynamics` says so; return the changed masks, {} if none.

        Call it while the step's gradients exist, because dynamics may grow weights by them.
        """
        self.steps += 1
        if self._dynamics is None:
            return {}
        masks = self._dynamics.update(self.steps, self._masks, self._model)
        if masks is None:
            return {}
        self._forget(self._dynamics.woken(self._masks, masks))
        self._masks.update(masks)
        for name, mask in masks.items():
            self._factors[name].copy_(mask)
        self.hold()
        return masks

    def _forget(self, grown: Mapping[str, Tensor]) -> None:
        """Set the moments of grown weights to zero, because they were gathered while the weights could not move."""
        for name, mask in grown.items():
            for value in self._optimizer.state[self._weights[name]].values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value.masked_fill_(mask, 0)


class Average:
    """Exponential moving averages: mean <- decay * mean + (1 - decay) * weight after each step.

    They cover weights, from the initial ones on, and the statistics of batch norm, which belong to the weights. Pruned
    weights are zero in the averages too.
    """

    def __init__(
        self, model: nn.Module, decay: float, masks: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> None:
        """Start averages from the current `model`, or from `state`, a result of `state_dict`, if it is not empty."""
        self._model = model
        named = {name: tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        self._live = {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
        self._mean = {name: tensor.clone() for name, tensor in self._live.items()}
        self._update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        for name, mean in self._mean.items() if state else ():
            mean.copy_(state[name])
        self.hold(masks)

    def after_step(self) -> None:
        """Update the averages after an optimizer step."""
        self._update(list(self._mean.values()), list(self._live.values()), None)

    def hold(self, masks: Mapping[str, Tensor]) -> None:
        """Set the averages of pruned weights to zero; call it when masks have changed."""
        for name, mask in masks.items():
            self._mean[name].mul_(mask)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the model inside the block; afterwards restore its weights, bit for bit."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap the model's weights and the averages."""
        live, mean = list(self._live.values()), list(self._mean.values())
        had = [tensor.clone() for tensor in live]
        torch._foreach_copy_(live, mean)
        torch._foreach_copy_(mean, had)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the model's `state_dict` with the averages in place of its weights."""
        with self.in_place():
            return {name: tensor.clone() for name, tensor in self._model.state_dict().items()}


class Stepper:
    """Training step of a model on one batch.

    A step is `compute`, which a CUDA graph can hold, followed by `finish`, which may change masks and runs on the host.
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
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._update = step_of(optimizer)
        device = next(model.parameters()).device
        self._autocast, self._arithmetic = autocast(trial, device), arithmetic(trial, device)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Make one step on images `x` [B, C, H, W] of classes `y` [B]; return the sums of `gradients`."""
        found = self.compute(x, y)
        self.finish()
        return found

    def compute(self, x: Tensor, y: Tensor) -> Tensor:
        """Update the weights, set pruned ones to zero and update the averages; return the sums of `gradients`.

        Everything happens on the device. On a GPU nothing waits for a number, so a CUDA graph can hold it.
        """
        for parameter in self._parameters:
            parameter.grad = None
        with self._arithmetic(), self._masked.seen_forward():
            found = self.gradients(x, y)
        self._update()
        self._masked.hold()
        if self._average is not None:
            self._average.after_step()
        return found

    def finish(self) -> None:
        """Count the step, and change the masks if that is due."""
        changed = self._masked.after_step()
        if self._average is not None and not self._masked.keeps_pruned:
            self._average.hold(changed)

    def renew_moments(self) -> None:
        """Move the optimizer's moments to newly allocated memory.

        A first step allocates them wherever an activation was just freed. There a moment of 1 MiB would keep a block of
        64 MiB from being given back.
        """
        for state in self._optimizer.state.values():
            state.update({name: value.clone() for name, value in state.items() if isinstance(value, Tensor)})

    def gradients(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the batch's gradients to `weight.grad`; return float64 [2]: summed loss and number of top-1 hits.

        The gradients of micro-batches add up to those of the mean loss of the whole batch. Batch norm sees each
        micro-batch separately.
        """
        count = self._trial.accumulate
        if count == 1:
            return self._of_micro_batch(x, y, len(y))
        parts = zip(split_batch(x, count), split_batch(y, count), strict=True)
        return reduce(torch.add, (self._of_micro_batch(images, classes, len(y)) for images, classes in parts))

    def _of_micro_batch(self, x: Tensor, y: Tensor, whole: int) -> Tensor:
        """Do the part of `gradients` of one micro-batch of a batch of `whole` images."""
        loss, hits = self._forward(self._model, x, y, "mean")
        share = len(y) / whole
        (loss if share == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
        return torch.stack([loss.detach().double() * len(y), hits])

    def _forward(self, network: nn.Module, x: Tensor, y: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        """Return the training loss and the number of top-1 hits (float64), both scalar tensors.

        `y` holds classes int64 [B], or probabilities [B, classes] of mixed images; the most probable class is then hit.
        """
        with self._autocast():
            logits = network(x)
        if logits.dtype == torch.bfloat16:
            logits = logits.float()
        loss = F.cross_entropy(logits, y, reduction=reduction, label_smoothing=self._trial.label_smoothing)
        classes = y if y.dim() == 1 else y.argmax(1)
        return loss, (logits.detach().argmax(1) == classes).sum().double()
