"""Compaction of a masked model into a smaller dense model that computes the same function."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pruners.channels import UnfollowableError, trace_channels
from pruners.compaction.constant_model import Constant, constant_logits
from pruners.compaction.narrow_attention import Indices, kept_units
from pruners.compaction.removable import surviving
from pruners.compaction.slice_layers import kept_indices, put, refit, slice_, take
from pruners.errors import OF_THE_MACHINE, message_of
from pruners.float32 import ieee_float32
from pruners.gradients import call, passes
from pruners.masks import apply_masks
from pruners.model_copy import copied
from pruners.weights import layer_weights

__all__ = ["Compacted", "compact", "refit"]

TOLERANCE = 1e-3  # relative to the largest logit; rounding changes logits by 1e-6, a missing channel by far more


@dataclass(frozen=True)
class Compacted:
    """A model without the channels that cannot matter; a non-empty `reason` says why none was removed."""

    model: nn.Module
    kept: dict[str, Indices] = field(default_factory=dict)  # state dict name -> positions kept, per leading axis
    reason: str = ""
    constant: bool = False  # the model is a `Constant`: no input reaches the output

    def take(self, name: str, whole: Tensor) -> Tensor | None:
        """Return the part of a tensor, shaped like the whole model's `name`, that the compacted model has, or None."""
        if self.constant and name not in self.kept:
            return None
        return take(whole, self.kept[name]) if name in self.kept and whole.dim() else whole

    def put(self, name: str, whole: Tensor, part: Tensor) -> Tensor:
        """Return a copy of `whole`, shaped like the whole model's `name`, with the compacted model's `part` in it."""
        return put(whole, part, self.kept[name]) if name in self.kept else part.clone()


@ieee_float32()
def compact(
    model: nn.Module, masks: Mapping[str, Tensor], input_shape: tuple[int, ...], *, training: bool = False
) -> Compacted:
    """Return a dense model that computes what `model` computes under `masks`, without channels that cannot matter.

    `input_shape` is that of one input, (C, H, W). The result is of the model's own class, with smaller layers,
    independent of `model`, which is left as it was; pruned weights that remain in it are zero. Every layer keeps
    at least one channel.

    Logits differ by rounding only, in eval and in train mode (statistics of batch norm included): nothing is
    folded, but a sum over fewer channels is taken in another order. In float32 the difference is less than 1e-5 of the
    largest logit, or of 1 if that is larger, unless the model itself rounds worse, as batch norm in train mode over a
    few numbers does, fifty layers deep. Then the two models differ by as much as each does from its own float64 logits.

    With `training`, the smaller model can also be trained in place of the whole one, under the masks of its remaining
    weights. With any optimizer that treats each number by itself, the losses are the same, and so is everything that
    `Compacted.put` restores. Fewer channels are removed then: a constant that training would change stays
    (see `pruners.compaction.frozen_zeros`), and a model that draws random numbers while it trains stays whole, because
    another width would draw other numbers. Removed weights have gradients of exactly zero, so that only weight decay
    changes them; removed running statistics are not used by anything.

    Of a transformer, heads and hidden units are removed that nothing reads (see `kept_units`); its embedding stays. Any
    other model that cannot be followed (see `pruners.channels`), or one whose smaller form does not compute the same
    logits for a random input, is returned in its full size with the `reason`.
    Raises PruningError if a mask names no parameter or has another shape than it.
    """
    whole = copied(model)
    apply_masks(whole, masks)
    try:
        channels = trace_channels(whole)
        names = {id(weight): name for name, weight in layer_weights(whole).items()}
        of_layers = {
            layer: masks[name] for layer in channels.inputs if (name := names.get(id(layer.weight))) and name in masks
        }
        alive = surviving(channels, of_layers, training)
    except UnfollowableError as error:
        kept = kept_units(whole, masks)
        return _compacted(whole, kept, input_shape, training) if kept else Compacted(whole, reason=str(error))
    if training and (bias := constant_logits(whole, channels, of_layers)):
        return Compacted(Constant(whole, bias), {bias: (torch.arange(len(whole.get_parameter(bias))),)}, constant=True)
    return _compacted(whole, kept_indices(whole, channels, alive), input_shape, training)


def _compacted(whole: nn.Module, kept: dict[str, Indices], input_shape: tuple[int, ...], training: bool) -> Compacted:
    """Return the part `kept` of a model, or the whole one with the reason if they do not compute the same."""
    small = copy.deepcopy(whole)
    slice_(small, kept)
    reason = _difference(whole, small, input_shape)
    if training and not reason and _draws(whole, input_shape):
        reason = "it draws random numbers while it trains, and a smaller model would draw different ones."
    return Compacted(whole, reason=reason) if reason else Compacted(small, kept)


def _draws(model: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Return True if a forward pass in train mode changes the random state of the CPU or of the model's device."""
    like = next(model.parameters())

    def states() -> list[Tensor]:
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(like.device)] if like.is_cuda else [])]

    with passes(model, "train", 0), torch.no_grad():
        before = states()
        call(model, {}, torch.zeros(2, *input_shape).to(like))
        return not all(map(torch.equal, before, states()))


@torch.no_grad()
def _difference(whole: nn.Module, small: nn.Module, input_shape: tuple[int, ...]) -> str:
    """Return how `small` differs from `whole`; "" if their logits agree."""
    like = next(whole.parameters())
    x = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0)).to(like)
    modes = [(module, module.training) for model in (whole, small) for module in model.modules()]
    try:
        expected = call(whole.eval(), {}, x)
        found = call(small.eval(), {}, x)
    except OF_THE_MACHINE:
        raise
    except Exception as error:  # noqa: BLE001 - a forward written for one width fails as it likes
        return f"the smaller model does not run: {message_of(error)}"
    finally:
        for module, training in modes:
            module.training = training
    if expected.shape != found.shape:
        return f"the smaller model returns {tuple(found.shape)} instead of {tuple(expected.shape)}."
    worst = float((expected - found).abs().max())
    return "" if worst <= TOLERANCE * float(expected.abs().max()) else f"its logits would change by {worst:.2g}."
