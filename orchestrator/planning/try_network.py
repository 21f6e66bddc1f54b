"""Tryout of a network on made-up images before anything trains: one training step and one test, with real values.

The "meta" device would be faster, but networks that read a value or make a tensor in their forward pass fail only
there; and which parameters get a gradient is known only after a real backward pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruners.errors import in_one_line
from trainables.architectures.architecture import Shape
from trainables.architectures.global_state import own_draws

LONGEST = 300  # characters of an error: torch lists every key of a state dict that does not fit


class PreflightError(ValueError):
    """Reason why a network cannot be trained and tested; the message is the end of a sentence about the network."""


def try_out(model: nn.Module, input_shape: Shape, num_classes: int, data: str) -> tuple[str, ...]:
    """Return the names of the parameters that get no gradient in a training step; changes the model.

    `data` is the name of the images in messages.

    Raises:
        PreflightError: if either mode fails, or returns anything but one row of logits per image; if nothing can train.
    """
    before = {name: parameter.shape for name, parameter in model.named_parameters()}
    wanted = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not wanted:
        raise PreflightError("no parameter requires gradients, so nothing can train")
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    size = "x".join(map(str, input_shape))
    with own_draws(0, "preflight"), torch.enable_grad():
        images = torch.stack([torch.zeros(input_shape), torch.randn(input_shape), torch.rand(input_shape)])
        step = "forward"
        try:
            model.train()
            logits = model(images[1:].clone())  # a model may change its input in place
            _require_logits(logits, num_classes, data, "train")
            if not logits.requires_grad:
                raise PreflightError("its logits depend on no parameter that requires gradients, so nothing can train")
            step = "backward"
            F.cross_entropy(logits, torch.arange(2) % num_classes).backward()  # type: ignore[no-untyped-call]
            after = {name: parameter.shape for name, parameter in model.named_parameters()}
            step = "eval"
            model.eval()
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    if name in buffers and buffers[name].shape == buffer.shape:
                        buffer.copy_(buffers[name])  # discard the running statistics of noise
                tested = model(images[:2].clone())
            _require_logits(tested, num_classes, data, "eval")
            if not tested.isfinite().all(1).any():
                raise PreflightError("its logits are NaN or infinite, for a black image and for noise")
        except PreflightError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything
            words = {
                "forward": f"it does not run on the {size} images of {data}",
                "backward": f"it has no gradients on the {size} images of {data}",
                "eval": f"it does not run in eval mode on the {size} images of {data}",
            }
            raise PreflightError(f"{words[step]}: {shortened(in_one_line(error))}") from None
    if changed := [name for name in {**before, **after} if before.get(name) != after.get(name)]:
        raise PreflightError(
            f"its first forward pass makes or changes the parameter {changed[0]}; make it when the network is built"
        )
    return tuple(name for name, parameter in wanted.items() if parameter.grad is None)


def takes_part(model: nn.Module, names: tuple[str, ...], input_shape: Shape, training: bool) -> set[str]:
    """Return the parameters on which the logits of a mode depend, with or without a gradient; changes the model.

    Each parameter in turn is set to NaN, which spreads to the logits of every computation with it, under any name.
    """
    parameters = dict(model.named_parameters())
    found = set()
    with own_draws(0, "preflight"), torch.no_grad():
        for name in names:
            kept = parameters[name].clone()
            parameters[name].fill_(torch.nan)
            model.train(training)
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    module.reset_running_stats()  # a NaN would stay there
            if model(torch.randn(2, *input_shape)).isnan().any():
                found.add(name)
            parameters[name].copy_(kept)
    return found


def shortened(line: str) -> str:
    """Return the line, cut after LONGEST characters."""
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _require_logits(found: object, classes: int, data: str, mode: str) -> None:
    wanted = (2, classes)
    if isinstance(found, Tensor) and found.shape == wanted and found.is_floating_point():
        return
    given = f"a {type(found).__name__}"
    if isinstance(found, Tensor):
        kind = "" if found.is_floating_point() else f" of {str(found.dtype).removeprefix('torch.')}"
        given = f"a tensor {tuple(found.shape)}{kind}"
    raise PreflightError(f"it returns {given} for two images of {data} in {mode} mode; it must return {wanted} logits")
