"""Prune once, train many: masks of a run or a file, known by content."""

from __future__ import annotations

import pytest
import torch
from pruned_once import planned, rows, shapes, sweep
from safetensors.torch import load_file, save_file

from orchestrator.report.__main__ import main as report
from search_spaces import SpaceError, load
from tests.trainables.s3 import s3
from trainables.context import Place
from trainables.record.object_store import Bucket
from trainables.shared import masks as given_masks


@pytest.mark.slow
def test_masks_made_once_are_trained_many_times_and_give_the_numbers_of_one_go(pruned, capsys, monkeypatch):
    output, runs = pruned
    many = output / "many.yaml"
    many.write_text(f"mask: mlflow:{runs[4.0]}\nseed: [0, 1, 2, 3]\nlr: [0.1, 0.02]\nepochs: 1\n")
    monkeypatch.setattr("pruners.scores.snip.score", None)  # whoever scores fails
    assert sweep(output, many) == 0
    assert "once for 8 trials: mask snip 4x of mlp on digits, seed 1" in " ".join(capsys.readouterr().out.split())
    monkeypatch.undo()
    found = rows(output, "many")
    assert {(row.cell.pruner, row.cell.compression, row.status) for row in found} == {("snip", 4.0, "finished")}
    trials = {(row.cell.seed, row.cell.settings["lr"]) for row in found}
    assert trials == {(seed, rate) for seed in range(4) for rate in (0.1, 0.02)}
    assert all("time/prune_seconds" not in row.metrics for row in found)

    one = output / "one.yaml"
    one.write_text("pruner: snip\ncompression: 4\nseed: 1\nlr: 0.02\nepochs: 1\n")
    assert sweep(output, one) == 0
    (whole,) = rows(output, "one")
    (same,) = [row for row in found if (row.cell.seed, row.cell.settings["lr"]) == (1, 0.02)]
    numbers = ("final/top1", "final/loss", "train/loss", "model/params_kept", "model/macs_kept")
    assert [same.metrics[key] for key in numbers] == [whole.metrics[key] for key in numbers]

    before = {row.run_id for row in found}
    assert sweep(output, many) == 0
    assert "8 done before, 0 to do" in capsys.readouterr().out
    assert {row.run_id for row in rows(output, "many")} == before
    together = ["many", "one", "--tracking-uri", f"sqlite:///{output / 'mlflow.db'}", "--no-log"]
    assert report([*together, "--output", str(output / "together")]) == 0
    page = (output / "together" / "report.html").read_text()
    assert f"not computed: snip 4x of mlp on digits, seed 1 (mlflow:{runs[4.0]})" in page
    assert "snip mask=given" in page and "snip mask=computed" in page


def test_a_trial_is_known_by_the_masks_and_not_by_where_they_come_from(pruned, tmp_path):
    output, runs = pruned
    (of_run,) = planned(pruned, f"mlflow:{runs[16.0]}").trials
    file = tmp_path / "mine.safetensors"
    masks = load_file(output / "checkpoints" / fingerprint(pruned, 16.0) / "masks.safetensors")
    save_file(masks, file)
    (of_file,) = planned(pruned, str(file)).trials
    assert of_run.fingerprint == of_file.fingerprint and of_run.config == of_file.config
    assert (of_run.pruner, of_file.pruner) == ("snip", "mine.safetensors")
    assert of_run.compression == of_file.compression == 16  # of a file from the masks alone
    masks["1.weight"][0] ^= True
    save_file(masks, file)
    assert planned(pruned, str(file)).trials[0].fingerprint != of_run.fingerprint


def fingerprint(pruned, compression):
    return next(row.cell.fingerprint for row in rows(pruned[0], "once") if row.cell.compression == compression)


def test_several_masks_are_an_axis(pruned, tmp_path):
    _, runs = pruned
    made = planned(pruned, [f"mlflow:{runs[4.0]}", f"mlflow:{runs[16.0]}"], seed=[0, 1])
    assert [(c.pruner, c.compression, c.seed, c.settings) for c in made.cells] == [
        ("snip", 4.0, 0, {}), ("snip", 4.0, 1, {}), ("snip", 16.0, 0, {}), ("snip", 16.0, 1, {}),
    ]  # fmt: skip
    half = {name: torch.arange(n).reshape(shape) % 2 == 0 for name, shape, n in shapes(made)}
    for name in "ab":
        save_file(half | {"1.weight": half["1.weight"].flip(0) if name == "b" else half["1.weight"]},
                  tmp_path / f"{name}.safetensors")  # fmt: skip
    paths = [str(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert [c.pruner for c in planned(pruned, paths).cells] == ["a.safetensors", "b.safetensors"]
    assert {c.compression for c in planned(pruned, paths).cells} == {2.0}


def test_masks_that_keep_all_are_the_dense_trial(pruned, tmp_path):
    made = planned(pruned, f"mlflow:{pruned[1][4.0]}")
    save_file({name: torch.ones(shape) for name, shape, _ in shapes(made)}, tmp_path / "all.safetensors")
    (trial,) = planned(pruned, str(tmp_path / "all.safetensors")).trials
    assert (trial.pruner, trial.mask, trial.compression) == ("dense", "", 1)


def test_an_override_takes_the_place_of_pruner_and_compression(pruned):
    space = load("cos598d-mnist", ["mask=elsewhere.safetensors"])
    assert space.axes["mask"] == ("elsewhere.safetensors",) and "compression" not in space.axes


def test_a_node_brings_them_from_the_object_store_and_damage_is_seen(tmp_path):
    save_file({"1.weight": torch.eye(4)}, tmp_path / "m.safetensors")
    content = (tmp_path / "m.safetensors").read_bytes()
    name, device = given_masks.digest(content), torch.device("cpu")
    with s3() as uri:
        driver, node = (Place(tmp_path / who, tmp_path / "data", mirror=uri) for who in ("driver", "node"))
        given_masks.provide(name, driver, lambda: content)
        found = given_masks.load(name, node, device)
        assert Bucket(uri).trials() == {}  # what is no trial is not taken for one
    assert torch.equal(found["1.weight"], torch.eye(4).bool())
    (node.masks / f"{name}.safetensors").write_bytes(content[:-1])
    with pytest.raises(ValueError, match="are damaged"):
        given_masks.load(name, node, device)
    with pytest.raises(SpaceError, match="changed while they were read"):
        given_masks.provide(name, Place(tmp_path / "else", tmp_path), lambda: b"")
