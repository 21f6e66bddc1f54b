"""Structured SNIP by the share of filters removed: from a space to a report, with real trials."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file

from orchestrator.results.lines import facets, line, metric_reader
from orchestrator.results.results import read
from orchestrator.sweep import main
from trainables.training import trainer

TINY = ["digits", "--local", "--set", "architecture=conv", "--set", "epochs=1", "--set", "granularity=filter"]
KAPPAS = ["--set", "pruner=snip", "--set", "kappa=[0, 0.3, 0.7]", "--set", "seed=[0, 1]"]
FILTERS = 64  # two convolutions of 32


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def results():
    return read(f"sqlite:///{Path('results/mlflow.db').resolve()}", "digits")


def test_a_sweep_by_kappa_and_its_report(capsys, monkeypatch):
    assert main([*TINY, *KAPPAS]) == 0
    found = results()
    (facet,) = facets(found)
    assert facet.settings == ()
    points = line(found, facet, "snip", metric_reader("final/top1"))
    assert [len(point.values) for point in points] == [2, 2, 2]  # seeds are one point
    for point, kappa in zip(points, (0, 0.3, 0.7), strict=True):
        assert {row.cell.kappa for row in point.rows} == {kappa}
        reached = [row.metrics["model/compression"] for row in point.rows]
        assert point.compression == float(f"{sum(reached) / 2:.3g}")
        for row in point.rows if kappa else ():
            masks = load_file(f"results/checkpoints/{row.cell.fingerprint}/masks.safetensors")
            gone = sum(int((~mask.flatten(1).any(1)).sum()) for mask in masks.values())
            assert gone == int(kappa * FILTERS)
            kept = torch.cat([mask.flatten() for mask in masks.values()])
            assert row.metrics["model/compression"] == pytest.approx(len(kept) / int(kept.sum()))
    assert points[0].compression == 1 < points[1].compression < points[2].compression

    client = MlflowClient(f"sqlite:///{Path('results/mlflow.db').resolve()}")
    runs = client.search_runs([found.experiment_id], "tags.kind='trial' and params.kappa='0.7'")
    assert len(runs) == 2
    page = Path("results/report/report.html").read_text()
    assert f"{points[2].compression:g}x" in page
    with Path("results/report/tables/trials.csv").open() as file:
        assert {row["kappa"] for row in csv.DictReader(file)} == {"", "0.3", "0.7"}

    monkeypatch.setattr(trainer, "train", lambda *a, **k: pytest.fail("trained again"))
    assert main([*TINY, *KAPPAS]) == 0
    assert "0 to do" in capsys.readouterr().out


@pytest.mark.slow
def test_kappa_and_compressions_side_by_side():
    pruners = "pruner=[random, {name: snip, kappa: 0.3}, {name: snip, kappa: 0.5}]"
    assert main([*TINY, "--set", pruners, "--set", "compression=[1, 2]"]) == 0
    found = results()
    (facet,) = facets(found)
    assert [point.compression for point in line(found, facet, "random", metric_reader("final/top1"))] == [1, 2]
    assert len(line(found, facet, "snip", metric_reader("final/top1"))) == 2


def test_a_kappa_without_a_result_is_a_hole_named_by_it():
    kappas = ["--set", "pruner=[snip, random]", "--set", "kappa=[0, 0.5]"]
    broken = trainer.find

    def failing(model, pruner, **settings):
        if settings["kappa"] and pruner.needs_data:
            raise RuntimeError("out of luck")
        return broken(model, pruner, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "find", failing)
        assert main([*TINY, *kappas]) == 1
    found = results()
    (hole,) = found.missing
    assert (hole.cell.pruner, hole.cell.kappa, hole.cell.compression) == ("snip", 0.5, 0)
    assert [point.compression for point in line(found, facets(found)[0], "snip", metric_reader("final/top1"))] == [1]
    page = Path("results/report/report.html").read_text()
    assert "snip kappa=0.5" in page
    assert "out of luck" in page


def test_a_seed_without_a_result_stands_beside_the_others():
    find = trainer.find

    def failing(model, pruner, **settings):
        if settings["seed"] == 1:
            raise RuntimeError("out of luck")
        return find(model, pruner, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "find", failing)
        assert main([*TINY, "--set", "pruner=snip", "--set", "kappa=0.5", "--set", "seed=[0, 1]"]) == 1
    found = results()
    (point,) = line(found, facets(found)[0], "snip", metric_reader("final/top1"))
    assert (len(point.values), len(point.rows), point.hole) == (1, 2, "failed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TINY, "--set", "pruner=snip", "--set", "kappa=0.99"], "architecture conv: Unreachable kappa 0.99"),
        (
            ["digits", "--set", "pruner=snip", "--set", "kappa=0.5"],
            "choose granularity filter, filter-mean, filter-max, head, neuron",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(arguments, message, capfd):
    assert main(arguments) == 2
    err = capfd.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not list(Path().iterdir())
