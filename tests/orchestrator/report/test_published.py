"""Published numbers: the right rows beside the right cells, and the recipe said before the gap."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from importlib import resources
from statistics import fmean

import pytest
from invented_sweep import Store

import pruners.registry
import trainables.architectures
from orchestrator.report.compare_published import published_lines, published_points
from orchestrator.report.figures import accuracy, draw
from orchestrator.report.page import page
from orchestrator.report.published import PRUNERS, at, for_trial, known_differences, published_rows
from orchestrator.report.tables import tables
from orchestrator.results.lines import Facet
from orchestrator.results.results import Results, read
from search_spaces import Trial

FIG6 = "Fig6 cifar10_lottery_vgg16_bn"


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


@pytest.fixture(scope="module")
def raw() -> list[dict[str, str]]:
    text = resources.files("orchestrator.report").joinpath("published.csv").read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def trial(**fields: object) -> Trial:
    return Trial.model_validate({"dataset": "cifar10", "architecture": "vgg16-bn", "pruner": "snip"} | fields)


def test_only_what_is_exact_or_transcribed_is_shipped(raw: list[dict[str, str]]) -> None:
    assert {row["evidence"] for row in raw} == {"exact", "transcribed"}
    assert all(row["source"] for row in raw)


def test_every_row_kept_is_of_the_file(raw: list[dict[str, str]]) -> None:
    known = {
        (r["source"], r["figure_or_table"], r["architecture"], float(r["compression_x"]), float(r["top1_mean"]))
        for r in raw
    }
    assert all((r.source, r.figure, r.network, r.compression, r.top1) in known for r in published_rows())
    assert {r.pruner for r in published_rows()} <= set(PRUNERS.values())


def test_the_curve_of_the_paper(raw: list[dict[str, str]]) -> None:
    rows = [row for row in for_trial(trial(compression=10), "snip") if row.figure == FIG6]
    theirs = [r for r in raw if r["figure_or_table"] == FIG6 and r["pruner"] == "snip"]
    assert sorted((r.compression, r.top1) for r in rows) == sorted(
        (float(r["compression_x"]), float(r["top1_mean"])) for r in theirs
    )
    assert at(rows, 10) == (92.26, "")  # the reference README's table
    between = at(rows, 5)
    assert between is not None and 92.26 < between[0] < 93.28 and between[1] == "between 3.16x and 5.62x"
    assert at(rows, 2000) is None


def test_another_network_pruner_granularity_or_ablation_has_none() -> None:
    assert for_trial(trial(architecture="conv"), "snip") == []
    assert for_trial(trial(), "my-own") == []
    assert for_trial(trial(granularity="filter"), "snip") == []
    assert all(row.ablation == "shuffle" for row in for_trial(trial(ablation="shuffle"), "snip"))


def test_what_they_are_called_here_can_be_run() -> None:
    assert all(trainables.architectures.lookup(row.architecture) for row in published_rows())
    assert {row.pruner for row in published_rows()} <= {"dense", *pruners.registry.PRUNERS}


def test_one_name_stands_for_the_network_that_fits_the_images() -> None:
    def called(dataset: str, network: str) -> set[str]:
        return {row.architecture for row in published_rows() if (row.dataset, row.network) == (dataset, network)}

    assert called("imagenet", "resnet50") == {"resnet50"}
    assert called("cifar10", "resnet50") == {"resnet50-cifar"}
    assert called("tiny-imagenet", "vgg16_bn(tinyimagenet)") == {"vgg16-bn-tiny"}
    assert called("cifar10", "wide_resnet18(tinyimagenet)") == {"resnet18-cifar"}
    narrow = trial(architecture="resnet18-cifar", architecture_options={"width": 16})
    assert for_trial(narrow, "snip") == []


def test_a_width_that_was_never_used_is_said() -> None:
    ours = trial(architecture="resnet18-cifar", compression=10)
    said = {row.network: known_differences(ours, row) for row in for_trial(ours, "snip")}
    note = "their WideResNet18 never used its width: these are further runs of their ResNet-18"
    assert note in said["wide_resnet18(tinyimagenet)"]
    assert note not in said["resnet18(tinyimagenet)"]


def test_the_recipe_is_said() -> None:
    [row] = [r for r in for_trial(trial(), "snip") if r.figure == FIG6 and r.compression == 10]
    same = {"compression": 10, "epochs": 160, "nesterov": True, "lr_schedule": "step", "lr_drops": (60, 120)}
    only_best = known_differences(trial(**same, mode="eval"), row)
    assert only_best == [
        "scoring_images: augmented and of any class there, plain and as many of each class here",
        "theirs is the best epoch on the test set; compared with our best epoch, not our last",
    ]
    other = known_differences(trial(**same | {"epochs": 10}, dataset="cifar10-jpeg75", mode="train"), row)
    assert "images: cifar10-jpeg75 here stands in for cifar10" in other
    assert "epochs: 160 there, 10 here" in other
    assert "mode: eval there, train here" in other


def test_the_student_tables_prune_magnitude_after_training() -> None:
    dense_first = trial(architecture="vgg16", pruner="magnitude", compression=10)
    said = {text for row in for_trial(dense_first, "magnitude") for text in known_differences(dense_first, row)}
    assert "pretrain_epochs: 200 there, 0 here" in said


def test_differences_are_ours_minus_theirs(results: Results, store: Store) -> None:
    [found] = [
        one
        for one in published_points(results)
        if (one.facet.architecture, one.pruner, one.point.compression) == ("vgg16-bn", "snip", 10)
        and one.row.figure == FIG6
    ]
    seeds = [
        store.logged[row.cell.fingerprint]["best/top1"]  # like with like: theirs is the best epoch's
        for row in results.rows
        if (row.cell.architecture, row.cell.pruner, row.cell.compression) == ("vgg16-bn", "snip", 10)
    ]
    assert found.difference == pytest.approx(100 * fmean(seeds) - 92.26)
    table = list(csv.DictReader(io.StringIO(tables(results)["published.csv"])))
    [row] = [r for r in table if FIG6 in r["source"] and (r["pruner"], r["compression"]) == ("snip", "10x")]
    assert (row["published"], row["difference"]) == ("92.26", f"{100 * fmean(seeds) - 92.26:+.2f}")
    assert "epochs: 160 there, 3 here" in row["recipe differs in"]


def test_they_are_drawn_faintly_behind(results: Results) -> None:
    accuracy = next(iter(draw(results)))
    source, lines = published_lines(results, Facet("cifar10", "vgg16-bn"))
    assert FIG6 in source and source in accuracy.caption
    faint = [line for line in accuracy.figure.axes[0].lines if line.get_alpha() is not None]
    assert len(faint) == len(lines) == 3
    assert [list(line.get_ydata()) for line in faint] == [[row.top1 for row in rows] for rows in lines.values()]


def test_two_sources_are_never_one_title() -> None:
    titles = {(row.source, row.figure): row.title for row in published_rows()}
    assert len(set(titles.values())) == len(titles)
    assert not any("file id" in title or re.search("[0-9]{8}", title) for title in titles.values())
    lines = {
        (row.title, row.dataset, row.architecture, row.network, row.pruner, row.ablation) for row in published_rows()
    }
    points = [
        (row.title, row.dataset, row.network, row.pruner, row.ablation, row.compression) for row in published_rows()
    ]
    assert len(set(points)) == len(points) >= len(lines)


def test_a_pruner_by_two_scopes_is_two_lines() -> None:
    ours = trial(dataset="imagenet", architecture="resnet50", pruner="rigl", scope="erk", compression=10)
    said = {row.figure: known_differences(ours, row) for row in for_trial(ours, "rigl")}
    assert "scope: layer there, erk here" in said["README 1x (100 ep), uniform"]
    assert not any(text.startswith("scope") for text in said["README 1x (100 ep), ERK"])


def test_networks_are_not_mistaken_for_others_of_their_name() -> None:
    networks = {(row.source.split()[0], row.network): row.architecture for row in published_rows()}
    assert networks["FlipOut", "vgg19_bn"] == "vgg19-bn"
    assert networks["SNIP-filter-level", "vgg16_bn"] == "torchvision/vgg16_bn"
    assert networks["COMP6258", "vgg16_bn"] == "vgg16-bn"


def test_pruning_during_training_is_not_put_beside_pruning_before() -> None:
    sources = {row.source.split()[0] for row in published_rows() if row.pruner in ("random", "magnitude")}
    assert "FlipOut" not in sources


def test_what_makes_their_grasp_another_is_said() -> None:
    ours = trial(pruner="grasp", compression=10)
    [said] = [
        known_differences(ours, row) for row in for_trial(ours, "grasp") if (row.figure, row.compression) == (FIG6, 10)
    ]
    assert "keeps: the smallest w (Hg) there, the largest w (Hg) here" in said
    assert not any("sign" in text for text in said)


def test_one_iteration_of_synflow_is_said() -> None:
    ours = trial(architecture="resnet20", pruner="synflow", iterations=100, schedule="exponential", compression=10)
    [said] = [known_differences(ours, row) for row in for_trial(ours, "synflow") if row.source == "COS568 student"][:1]
    assert "iterations: 1 there, 100 here" in said


def test_published_lines_are_within_the_axes(results: Results) -> None:
    low = tuple(
        replace(row, metrics={**row.metrics, "final/top1": 0.12}) if row.status == "finished" else row
        for row in results.rows
    )
    (drawing,) = accuracy.draw(replace(results, rows=low))
    top = drawing.figure.axes[0].get_ylim()[1]
    assert top > 90 and "(Tanaka 2020)" in drawing.caption


def test_a_report_of_a_preset_says_in_what_it_is_as_published(results: Results, store: Store) -> None:
    [sweep] = results.sweeps
    of_preset = replace(results, sweeps=(replace(sweep, plan={**sweep.plan, "space": "synflow-cifar-vgg"}),))
    said = page(of_preset, [], store.uri).partition('<section id="published">')[2].partition("Read this first")[0]
    assert "<code>synflow-cifar-vgg</code> as published: SynFlow (Tanaka 2020), except for:" in said
    assert "<li>seeds: 3 there, 2 here</li>" in said
    assert "<li>epochs: 160 there, 3 here</li>" in said
    assert "a score is then a function of the seed and the images alone" in said
    assert "as published:" not in page(results, [], store.uri)
