"""Pruning in levels: train, prune, rewind, repeat. With magnitude scores: iterative magnitude pruning (IMP)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from pruners import Pruning
from trainables.record import checkpoint
from trainables.training.trainer import Trainer
from trainables.training_cost import kept_macs

REWIND = "rewind.pt"
SaveState = Callable[[dict[str, Any]], None]
Report = Callable[[dict[str, float], int], None]


def prune_in_levels(on: Trainer, folder: Path, saved: Mapping[str, Any], save: SaveState, report: Report) -> Pruning:
    """Return the masks of the last of L = `trial.levels` levels (Frankle et al. 2020, algorithm 2; any score).

    The model must have the trained weights of the dense network. Level l prunes the weights trained so far to
    density^(l/L) of all, rewinds the rest, and trains it; the training after the last level is the trial's own.
    `report` receives `level/top1`, `level/compression` and `level/macs_kept` of the network that each level prunes.
    `saved` is the trial's last checkpoint, empty if there is none; `save` writes the next one.
    Levels before the last are not shuffled, because a shuffled mask cannot be nested in another one.
    """
    level: int = saved.get("level", 0)
    masks: dict[str, Tensor] = saved.get("masks", {})
    state = dict(saved) if "model" in saved else None
    last = on.trial.levels
    kept = kept_macs(on.model, on.data.input_shape)
    while True:
        if level > 0:
            state = state or rewind(on, folder)
            on.train(masks, state=state, save=_marking(save, level, masks))
            state = None
        result = on.test() | {"compression": on.trial.compression ** (level / last)} | kept(masks)
        report(
            {f"level/{name}": result[name] for name in ("top1", "compression", "macs_kept") if name in result}, level
        )
        level += 1
        ablation = "none" if on.trial.ablation == "shuffle" and level < last else on.trial.ablation
        found = on.find(on.trial.compression ** (level / last), masks, ablation)
        if level == last:
            return found
        masks = found.masks
        _marking(save, level, masks)({})


def rewind(on: Trainer, folder: Path) -> dict[str, Any] | None:
    """Reset the model to where levels start; return the state from which its training continues, None for epoch 0.

    The state is that of the dense training after `rewind_epoch` epochs: weights, statistics, momentum and learning
    rate. Those few epochs are trained once more and kept in `folder`, where all levels find them.
    """
    on.restart()
    if on.trial.rewind_epoch == 0:
        return None
    file = folder / REWIND
    begun = checkpoint.load(file, on.device)
    on.train({}, state=begun, save=partial(checkpoint.save, file), until=on.trial.rewind_epoch)
    state = checkpoint.load(file, on.device)
    assert state is not None  # training always saves when it pauses at `until`
    return state | {"progress": {"epoch": on.trial.rewind_epoch}}  # drops the dense network's best accuracy and times


def _marking(save: SaveState, level: int, masks: Mapping[str, Tensor]) -> SaveState:
    """`save`, adding where in the levels the state belongs."""
    return lambda state: save(state | {"level": level, "masks": dict(masks)})
