"""Figures show every result once, mark what is special, and are the same for the same numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from invented_sweep import Store, build

from orchestrator.colors import KNOWN, look
from orchestrator.figures import Drawing, draw
from orchestrator.figures.accuracy import accuracy_axis
from orchestrator.figures.against_compression import _labels
from orchestrator.lines import Facet
from orchestrator.results import Results, Row, read


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


@pytest.fixture(scope="module")
def drawings(results: Results) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in draw(results)}


def legend(drawing: Drawing) -> set[str]:
    return {text.get_text() for entry in drawing.figure.legends for text in entry.get_texts()}


def test_all_figures_are_drawn(drawings: dict[str, Drawing]) -> None:
    per_facet = {f"{name}-{a}-cifar10" for name in ("density", "histograms") for a in ("vgg16-bn", "resnet20")}
    assert set(drawings) == {"accuracy", "tradeoff", "macs"} | per_facet


def test_accuracy_draws_the_means_and_marks_the_hole(drawings: dict[str, Drawing], results: Results) -> None:
    left, right = drawings["accuracy"].figure.axes
    assert [axis.get_title() for axis in (left, right)] == ["vgg16-bn · cifar10", "resnet20 · cifar10"]
    drawn = next(line for line in left.lines if line.get_color() == look("snip").color)
    means = []
    for compression in (1, 2, 10):
        seeds = [
            row.metrics["final/top1"]
            for row in results.rows
            if (row.cell.architecture, row.cell.pruner, row.cell.compression) == ("vgg16-bn", "snip", compression)
        ]
        means.append(100 * sum(seeds) / len(seeds))
    assert list(drawn.get_xdata()) == [1, 2, 10]
    assert list(drawn.get_ydata()) == pytest.approx(means)
    crosses = [line for line in right.lines if line.get_marker() == "x"]
    assert [(line.get_color(), list(line.get_xdata())) for line in crosses] == [(look("synflow").color, [10])]
    assert legend(drawings["accuracy"]) == {"random", "snip", "synflow", "dense", "chance", "collapsed",
                                            "no result"}  # fmt: skip


def test_compressions_are_the_ticks(drawings: dict[str, Drawing]) -> None:
    axis = drawings["accuracy"].figure.axes[0]
    assert list(axis.get_xticks()) == [1, 2, 10]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["1x", "2x", "10x"]


def test_labels_that_would_touch_give_way() -> None:
    assert _labels([1, 2, 5, 10, 15, 20]) == ["1x", "2x", "5x", "10x", "", "20x"]
    assert _labels([7]) == ["7x"]


def test_the_stretched_axis_keeps_order_up_to_100_percent(results: Results) -> None:
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    list(accuracy_axis(axis, results, Facet("cifar10", "vgg16-bn")))
    heights = axis.transData.transform([(1, a) for a in (0, 50, 90, 99, 100)])[:, 1]
    assert sorted(heights) == list(heights)
    assert len(set(heights)) == 5


def test_same_numbers_same_bytes(drawings: dict[str, Drawing], results: Results) -> None:
    again = next(iter(draw(results)))
    assert again.save("svg") == drawings["accuracy"].save("svg")
    assert drawings["accuracy"].save("png").startswith(b"\x89PNG")


def test_one_panel_and_pruners_nobody_has_heard_of(store: Store) -> None:
    labels = ["my-own", "snip scope=global", "snip scope=layer"]
    build(store.folder, "own", ["mlp"], labels, [1, 4], [0], layers=1)
    drawings = list(draw(read(store.uri, "own")))
    assert {"my-own", "snip scope=layer"} <= legend(drawings[0])
    assert all(drawing.save("svg") for drawing in drawings)


def test_a_dataset_without_any_result_is_an_empty_panel(results: Results) -> None:
    rows = [Row(row.cell.model_copy(update={"dataset": "mnist"})) for row in results.rows]
    drawings = {drawing.name: drawing for drawing in draw(replace(results, rows=(*results.rows, *rows)))}
    for name in ("accuracy", "tradeoff", "macs"):
        assert len(drawings[name].figure.axes) == 4
        assert drawings[name].save("svg")


def test_known_pruners_can_be_told_apart() -> None:
    looks = [look(name) for name in KNOWN]
    assert len({entry.color for entry in looks}) == len({entry.marker for entry in looks}) == len(KNOWN)


def test_a_look_depends_on_the_label_alone() -> None:
    assert look("my-own") == look("my-own")
    assert look("snip scope=layer").color == look("snip").color
    assert look("snip scope=layer").dash != look("snip").dash
