"""Masks that are none, or not of the network they are given to: refused before anything trains."""

from __future__ import annotations

import pickle

import pytest
import torch
from mlflow import MlflowClient
from pruned_once import planned, shapes
from safetensors.torch import save_file

from orchestrator.sweep import main
from search_spaces import SpaceError


def no_masks(pruned, tmp_path):
    return f"mlflow:{pruned[1][1.0]}"


def no_run(pruned, tmp_path):
    return "mlflow:RUN_ID"


def a_sweep(pruned, tmp_path):
    client = MlflowClient(f"sqlite:///{pruned[0] / 'mlflow.db'}")
    return f"mlflow:{client.get_run(pruned[1][4.0]).data.tags['mlflow.parentRunId']}"


def unfinished(pruned, tmp_path):
    client = MlflowClient(f"sqlite:///{pruned[0] / 'mlflow.db'}")
    return f"mlflow:{client.create_run(client.get_experiment_by_name('once').experiment_id).info.run_id}"


def no_file(pruned, tmp_path):
    return str(tmp_path / "nowhere.safetensors")


def a_pickle(pruned, tmp_path):
    (tmp_path / "masks.pt").write_bytes(pickle.dumps({}))
    return str(tmp_path / "masks.pt")


def a_pickle_in_disguise(pruned, tmp_path):
    path = tmp_path / "masks.safetensors"
    path.write_bytes(pickle.dumps({"a": 1}))
    return str(path)


def weights(pruned, tmp_path):
    save_file({"1.weight": torch.full((100, 64), 0.5)}, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


def nothing_left(pruned, tmp_path):
    save_file({"1.weight": torch.zeros(100, 64)}, tmp_path / "w.safetensors")
    return str(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (no_masks, "has no masks: nothing was pruned there"),
        (no_run, "there is no run 'RUN_ID' in sqlite"),
        (a_sweep, r"\(sweep once\) has no masks\.safetensors; give the run of a pruned trial"),
        (unfinished, "is RUNNING; masks are taken from FINISHED runs only"),
        (no_file, r"nowhere\.safetensors' cannot be read \(No such file"),
        (a_pickle, r"masks\.pt' is not allowed; it must be mlflow:RUN_ID or a file that ends in \.safetensors"),
        (a_pickle_in_disguise, r"masks\.safetensors' is not a safetensors file"),
        (weights, r"holds no masks: 1\.weight has values other than 0 and 1"),
        (nothing_left, "keeps no weight at all"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(pruned, tmp_path, mask, message):
    with pytest.raises(SpaceError, match=message) as refusal:
        planned(pruned, mask(pruned, tmp_path))
    assert str(refusal.value).startswith("mask: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "conv"}, r"does not fit architecture conv: it has no prunable weight 1\.weight"),
        (
            {"architecture": {"name": "mlp", "width": 50}},
            r"the mask of 1\.weight is \(100, 64\) and the weight \(50, 64\)",
        ),
        ({"architecture": {"name": "mlp", "dense_classifier": True}}, r"it has no prunable weight 11\.weight"),
        ({"architecture": {"name": "mlp", "depth": 7}}, r"mlp depth=7: there is no mask of 13\.weight"),
        ({"compression": 4}, "compression: mask is given too, and brings its own"),
        ({"pruner": "snip"}, "pruner: mask is given too"),
        ({"sparsity": 0.5}, "sparsity: mask is given too"),
        ({"iterations": 5}, "iterations: mask is given too"),
    ],
)
def test_masks_that_do_not_fit_are_refused(pruned, fields, message):
    with pytest.raises(SpaceError, match=message):
        planned(pruned, f"mlflow:{pruned[1][4.0]}", **fields)


def test_a_missing_mask_is_named(pruned, tmp_path):
    made = planned(pruned, f"mlflow:{pruned[1][4.0]}")
    some = {name: torch.arange(n).reshape(shape) % 2 for name, shape, n in shapes(made) if name != "11.weight"}
    save_file(some, tmp_path / "some.safetensors")
    with pytest.raises(
        SpaceError, match=r"there is no mask of 11\.weight; if it is to stay dense, name it in keep_dense"
    ):
        planned(pruned, str(tmp_path / "some.safetensors"))
    kept = planned(
        pruned, str(tmp_path / "some.safetensors"), architecture={"name": "mlp", "keep_dense": ["11.weight"]}
    )
    assert kept.trials[0].compression == 2


def test_a_refused_mask_writes_nothing(pruned, tmp_path):
    output = tmp_path / "nothing"
    space = tmp_path / "many.yaml"
    space.write_text("dataset: digits\narchitecture: mlp\nmask: mlflow:RUN_ID\n")
    assert main([str(space), "--local", "--output", str(output)]) == 2
    assert not output.exists()
