"""Pruning in levels: train, prune, rewind, again. With magnitudes, iterative magnitude pruning (IMP)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from pruners import Pruning
from trainables.record import checkpoint
from trainables.training.trainer import Trainer

REWIND = "rewind.pt"
SaveState = Callable[[dict[str, Any]], None]
Report = Callable[[dict[str, float], int], None]


def prune_in_levels(on: Trainer, folder: Path, saved: Mapping[str, Any], save: SaveState, report: Report) -> Pruning:
    """The masks of the last of L = `trial.levels` levels (Frankle et al. 2020, algorithm 2; any score).

    The model comes with the trained weights of the dense network. Level l prunes the weights trained before to
    density^(l/L) of all, rewinds what is left, and trains it; the training of the last level is the trial's own.
    `report` receives `level/top1` and `level/compression` of the network that each level started to prune.
    `saved` is the trial's last checkpoint, if a level had begun by then; `save` adds the next one.
    A shuffled mask cannot be nested in another one: the levels before the last are not shuffled.
    """
    level: int = saved.get("level", 0)
    masks: dict[str, Tensor] = saved.get("masks", {})
    state = dict(saved) if "model" in saved else None
    last = on.trial.levels
    while True:
        if level > 0:
            state = state or rewind(on, folder)
            on.train(masks, state=state, save=_marking(save, level, masks))
            state = None
        report({"level/top1": on.test()["top1"], "level/compression": on.trial.compression ** (level / last)}, level)
        level += 1
        ablation = "none" if on.trial.ablation == "shuffle" and level < last else on.trial.ablation
        found = on.find(on.trial.compression ** (level / last), masks, ablation)
        if level == last:
            return found
        masks = found.masks
        _marking(save, level, masks)({})


def rewind(on: Trainer, folder: Path) -> dict[str, Any] | None:
    """Put the model where levels start, and return the state in which its training goes on from there.

    That is the dense training after `rewind_epoch` epochs: weights, statistics, momentum and learning rate.
    Those few epochs are trained once more, and kept in `folder`: the same for all levels.
    """
    on.restart()
    if on.trial.rewind_epoch == 0:
        return None
    file = folder / REWIND
    begun = checkpoint.load(file, on.device)
    on.train({}, state=begun, save=partial(checkpoint.save, file), until=on.trial.rewind_epoch)
    state = checkpoint.load(file, on.device)
    assert state is not None  # where training pauses it saves
    return state | {"progress": {"epoch": on.trial.rewind_epoch}}  # what the dense net reached is not the sparse one's


def _marking(save: SaveState, level: int, masks: Mapping[str, Tensor]) -> SaveState:
    """`save`, adding where in the levels the state belongs."""
    return lambda state: save(state | {"level": level, "masks": dict(masks)})
