"""Conservation of magnitudes by training: the mean squared weight of each layer, by epoch and by level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pruners import prunable
from trainables.inverse_size_fit import inverse
from trainables.measures.measure import Found, Measure, Save, TableRow
from trainables.training.trainer import Trainer

COLUMNS = ("level", "epoch", "layer", "weights", "mean_square")


def find(on: Trainer, saved: Mapping[str, Any], save: Save) -> Found:
    """Return the mean square of each layer's kept weights, before training and after each epoch of each level.

    Level 0 trains the dense network. Level l prunes it to density^(l/L) and trains the kept weights from the start
    again; L = `trial.levels` (0: only the dense training). Gradient descent alone makes the total of squared weights
    equal in all layers, so that their mean grows with the inverse size (Tanaka et al. 2020, section 5 and figure 5).
    """
    trial = on.trial
    rows: list[TableRow] = list(saved.get("rows", []))
    masks: dict[str, Tensor] = dict(saved.get("masks", {}))
    state = dict(saved) if "model" in saved else None
    for level in range(saved.get("level", 0), trial.levels + 1):
        if state is None:
            if level:
                masks = on.find(trial.compression ** (level / trial.levels), masks).masks
                on.restart()
            rows += _rows(on, masks, level, 0)
        _train(on, masks, level, rows, state, save)
        state = None
    last = rows[-len(prunable(on.model)) :]
    first = rows[: len(last)]
    start = {f"{key}_at_start": value for key, value in _inverse(first).items()}
    return Found(COLUMNS, rows, _inverse(last) | start)


def _train(
    on: Trainer, masks: dict[str, Tensor], level: int, rows: list[TableRow], state: dict[str, Any] | None, save: Save
) -> None:
    """Train one level, going on from `state`, and add its epochs to `rows`."""

    def report(metrics: dict[str, float], epoch: int) -> None:
        rows.extend(_rows(on, masks, level, epoch))

    def keep(state: dict[str, Any]) -> None:
        save(state | {"level": level, "masks": masks, "rows": rows})

    # Not compacted: the weights of the whole network are measured after each epoch.
    on.train(masks, state=state, save=keep, report=report, compact=False)


def _rows(on: Trainer, masks: Mapping[str, Tensor], level: int, epoch: int) -> list[TableRow]:
    rows: list[TableRow] = []
    for name, weight in prunable(on.model).items():
        mask = masks.get(name)
        kept = weight.detach() if mask is None else weight.detach()[mask]
        rows.append([level, epoch, name, kept.numel(), float(kept.double().square().mean()) if kept.numel() else 0.0])
    return rows


def _inverse(rows: list[TableRow]) -> dict[str, float]:
    alive = [row for row in rows if row[3]]
    return inverse([row[3] for row in alive], [row[4] for row in alive])


IMP_CONSERVATION = Measure(
    find=find,
    summary="each layer's mean squared weight over training and the levels of iterative magnitude pruning",
    paper="Tanaka et al. 2020, Pruning neural networks without any data by iteratively conserving synaptic flow",
    ignores=frozenset({"pretrain_epochs", "rewind_epoch", "ablation"}),
    trains=True,
)
