"""Multiply-accumulates of every training and scoring that a trial needs, shared stages included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from pruners import lookup
from search_spaces import Trial, stage
from trainables.profiling import Unmeasured, macs
from trainables.record.event_log import read

PASSES = 3  # forward passes that a pass forward and backward costs (Evci et al. 2020, appendix H)

LoggedPoints = Mapping[tuple[str, int], float]  # metric and step -> value


def kept_macs(model: nn.Module, input_shape: tuple[int, ...]) -> Callable[[Mapping[str, Tensor]], dict[str, float]]:
    """Return a function of masks: the multiply-accumulates kept for one input, as {"macs_kept": number}.

    Parameters without a mask keep all of them. The result is {} if those of `model` cannot be counted.
    """
    counts = Unmeasured().attempt("macs", macs, model, input_shape)  # `model/macs_kept` has the reason

    def kept(masks: Mapping[str, Tensor]) -> dict[str, float]:
        if counts is None:
            return {}
        shares = {name: int(mask.sum()) / mask.numel() for name, mask in masks.items()}
        return {"macs_kept": sum(own * shares.get(name, 1.0) + bias for name, (own, bias) in counts.items())}

    return kept


def scored_images(trial: Trial, num_classes: int) -> int:
    """Return the images that the trial's pruner scores on, over all iterations and levels.

    A pruner that needs only the shape of an input takes one; masks that are given were scored elsewhere.
    """
    if trial.pruner == "dense" or trial.mask:
        return 0
    pruner = lookup(trial.pruner, trial.code)
    each = trial.samples_per_class * num_classes if pruner.needs_data else int(pruner.needs_input)
    passes = 1 if pruner.update is None else 2  # for the scores, and for the update
    return each * passes * trial.iterations * max(1, trial.levels)


def logged_metrics(folder: Path) -> dict[tuple[str, int], float]:
    """Return all metrics of a trial's event log."""
    return {
        (name, event["step"]): value for event, _ in read(folder) for name, value in event.get("metrics", {}).items()
    }


def training_cost(trial: Trial, logged: LoggedPoints, images: int, scored: int) -> dict[str, float]:
    """Return the metrics of the trial's total training cost; {} if something that they need was not logged.

    A training costs `PASSES` forward passes of all `images` in each epoch, with the multiply-accumulates of the kept
    weights. The dense training that the trial starts from counts in full, although other trials may share it. Where
    masks change during training, each epoch counts with the masks at its end. Scoring costs a pass forward and
    backward of the dense network for each of the `scored` images.
    """
    again = trial.epochs - trial.rewind_epoch  # epochs of each level
    dense = stage(trial)
    try:
        whole = logged["model/macs", 0]
        before = trial.rewind_epoch + (dense.epochs_to_train if dense else 0)
        epochs = [whole] * before
        for level in range(1, trial.levels):
            epochs += [logged["level/macs_kept", level]] * again
        if any(name == "train/macs_kept" for name, _ in logged):
            epochs += [logged["train/macs_kept", epoch] for epoch in range(1, again + 1)]
        else:
            epochs += [logged["model/macs_kept", 0]] * again
    except KeyError:  # the network cannot be counted, or an earlier version began the trial
        return {}
    return {
        "cost/training_macs": PASSES * (images * sum(epochs) + scored * whole),
        "cost/dense_training_macs": PASSES * images * trial.epochs * whole,
    }
