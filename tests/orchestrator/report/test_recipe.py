"""The recipe on the page: what acts, what all have in common, and what one pruner is given and another is not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from invented_sweep import Store

from orchestrator.report.recipe import TOTAL, common, fields_by_pruner, never_pruned_shares
from orchestrator.results.results import read
from orchestrator.results.row import Row
from search_spaces import Cell, Trial


def trial(**fields: object) -> Trial:
    return Trial(dataset="cifar10", architecture="mlp", **fields)  # type: ignore[arg-type]


def test_what_does_nothing_is_not_said() -> None:
    adam = dict(common([trial(optimizer="adam"), trial(optimizer="adam", pruner="snip", compression=2)]))
    assert "momentum" not in adam and "lr_factor" not in adam and "kappa" not in adam
    assert adam["optimizer"] == "adam" and adam["weight_decay"] == "0.0001"
    assert dict(common([trial(lr_schedule="step")]))["lr_factor"] == "0.1"
    assert dict(common([trial(weight_decay=0)]))["weight_decay"] == "0"
    refined = {
        "warmup_epochs": 5,
        "label_smoothing": 0.1,
        "mixup": 0.8,
        "accumulate": 4,
        "ema": 0.999,
        "precision": "bfloat16",
    }
    assert not refined.keys() & dict(common([trial()])).keys()
    assert {key: str(value) for key, value in refined.items()}.items() <= dict(common([trial(**refined)])).items()


def test_the_dense_trials_do_not_hide_what_the_pruned_have_in_common() -> None:
    both = [
        trial(),
        trial(pruner="snip", compression=2, mode="train"),
        trial(pruner="grasp", compression=2, mode="train"),
    ]
    assert dict(common(both))["mode"] == "train"


def test_in_what_the_pruners_differ(store: Store) -> None:
    results = read(store.uri, "small")
    assert fields_by_pruner(results)[0] == []
    longer = {
        key: t.model_copy(update={"pretrain_epochs": 7, "mode": "train"}) if t.pruner == "snip" else t
        for key, t in results.trials.items()
    }
    heads, rows = fields_by_pruner(replace(results, trials=longer))
    assert heads == ["mode", "pretrain_epochs", TOTAL]
    assert dict(rows) == {"random": ["eval", "0", "3"], "snip": ["train", "7", "10"], "synflow": ["eval", "0", "3"]}


def test_what_is_never_pruned_is_told_from_the_counts() -> None:
    # 1000 parameters of which 900 compete, at 3x: 300 of these are kept.
    metrics = {"model/params": 1000.0, "model/params_kept": 400.0, "model/compression": 3.0}
    cell = Cell.model_construct(architecture="vit", compression=3.0)
    results = SimpleNamespace(rows=[Row(cell, "failed"), Row(cell, "finished", metrics=metrics)])
    assert never_pruned_shares(results) == [("never pruned of vit", "10 % of its parameters")]  # type: ignore[arg-type]
