"""Logits in the outputs of models, and the loss of logits for labels of several formats."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pruners.errors import PruningError

IGNORED = -100  # the default ignore_index of cross_entropy: examples with this label do not count
CROSS_ENTROPY, NLL = LOSSES = ("cross-entropy", "nll")
_WHAT = "it must return logits (N, classes)"


def logits_of(output: Any) -> Tensor:
    """Return the logits in a model's output, which is a tensor or contains exactly one candidate.

    The latter is an object or mapping with `logits`, as Hugging Face's models and torchvision's Inception return, or a
    tuple or list with a single tensor in it. Raises PruningError for anything else.
    """
    if isinstance(output, Tensor):
        return output
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        return named
    if isinstance(output, tuple | list):
        tensors = [each for each in output if isinstance(each, Tensor)]
        if len(tensors) == 1:
            return tensors[0]
        raise PruningError(f"The model returns a {type(output).__name__} of {len(tensors)} tensors; {_WHAT}.")
    keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
    raise PruningError(f"The model returns a {type(output).__name__}{keys}; {_WHAT}.")


def counted(labels: Tensor) -> int:
    """Return the number of labels that a mean loss is taken over: all but those that are ignored.

    Raises PruningError if all are ignored.
    """
    count = labels.numel() if labels.is_floating_point() else int((labels != IGNORED).sum())
    if not count:
        raise PruningError(
            f"All labels of a batch are {IGNORED}, which cross-entropy ignores: without a loss there are no scores."
        )
    return count


def loss_of(logits: Tensor, labels: Tensor, kind: str = CROSS_ENTROPY) -> Tensor:
    """Return the mean loss of `logits` (N, classes, ...), differentiable: cross-entropy, or minus the logit for "nll".

    "nll" treats logits as logarithms of probabilities, as torch's nll_loss does without a log_softmax before it.
    `labels` are class numbers (N, ...), one-hot rows (N, classes) of any type, or probabilities (N, classes).
    Raises PruningError, with the reason, if these do not fit or the loss is a constant.
    """
    if logits.dim() < 2 or len(logits) != len(labels) or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise PruningError(f"The model returns {kind} of shape {list(logits.shape)} for {len(labels)} inputs; {_WHAT}.")
    classes = logits.shape[1]
    if classes < 2:
        raise PruningError(
            "The model returns one logit for each input: its cross-entropy is 0 for all weights, so there are no "
            "scores. Return two logits or more; for a binary classifier with the logit z, return (0, z)."
        )
    if torch.is_grad_enabled() and not logits.requires_grad:
        raise PruningError("No gradient leads from the model's logits to its weights: is its forward detached?")
    if labels.shape == logits.shape and _one_hot(labels):
        labels = labels.argmax(1)
    if labels.is_floating_point():
        return _LOSSES[kind](logits, _probabilities(labels, logits))
    expected = logits.shape[:1] + logits.shape[2:]
    if labels.numel() != expected.numel():
        raise PruningError(
            f"Labels of shape {list(labels.shape)} do not fit logits of shape {list(logits.shape)}: they must be "
            f"class numbers {list(expected)}, or one-hot or probabilities {list(logits.shape)}."
        )
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
    if len(wrong):
        raise PruningError(
            f"Label {int(wrong[0])} is out of range: the model returns {classes} logits, so labels must be "
            f"0 to {classes - 1}."
        )
    return _LOSSES[kind](logits, labels.reshape(expected))


def _nll(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point():  # torch's nll_loss takes no probabilities
        return -(labels * logits).sum() * logits.shape[1] / logits.numel()
    return F.nll_loss(logits, labels)


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {CROSS_ENTROPY: F.cross_entropy, NLL: _nll}


def _one_hot(labels: Tensor) -> bool:
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all())


def _probabilities(labels: Tensor, logits: Tensor) -> Tensor:
    if labels.shape != logits.shape:
        raise PruningError(
            f"Probabilities of shape {list(labels.shape)} do not fit logits of shape {list(logits.shape)}."
        )
    if (labels < 0).any() or ((labels.sum(1) - 1).abs() > 1e-2).any():
        raise PruningError(
            "Labels (N, classes) must be probabilities: at least 0, and their sum is 1 for each input. Cross-entropy "
            "does not take labels with several classes at once."
        )
    return labels.to(logits.dtype)
