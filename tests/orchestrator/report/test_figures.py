"""Figures show every result once, mark what is special, and are the same for the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import pytest
from invented_sweep import Store, build
from mlflow import MlflowClient

from orchestrator.colors import look
from orchestrator.report import figures
from orchestrator.report.figures import Drawing, accuracy, against_compression, draw
from orchestrator.report.figures.accuracy import accuracy_axis
from orchestrator.report.figures.against_compression import PARAMS_KEPT, _labels, coinciding
from orchestrator.report.figures.against_cost import front
from orchestrator.report.figures.style import power_ticks
from orchestrator.results.details import Details
from orchestrator.results.lines import Facet, facets
from orchestrator.results.results import Results, read
from orchestrator.results.row import Row


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


PER_FACET = {f"{kind}-{architecture}-cifar10" for kind in ("density", "layer-macs", "training", "scores", "histograms")
             for architecture in ("vgg16-bn", "resnet20")}  # fmt: skip
SHARED = {"accuracy", "collapse", "tradeoff", "tradeoff-speedup", "tradeoff-training", "macs", "params", "speedup",
          "costs"}  # fmt: skip


def drawn(results: Results) -> dict[str, Drawing]:
    """All that is drawn of them, by all that is registered: nothing raises, each has its own name and a caption."""
    found = list(draw(results))
    assert [drawing.caption for drawing in found if "could not be drawn" in drawing.caption] == []
    assert all(drawing.caption for drawing in found)
    by_name = {drawing.name: drawing for drawing in found}
    assert len(by_name) == len(found)
    return by_name


@pytest.fixture(scope="module")
def drawings(results: Results) -> dict[str, Drawing]:
    return drawn(results)


def legend(drawing: Drawing) -> set[str]:
    return {text.get_text() for entry in drawing.figure.legends for text in entry.get_texts()}


def test_all_figures_are_drawn(drawings: dict[str, Drawing]) -> None:
    assert set(drawings) >= SHARED | PER_FACET


def test_a_figure_that_raises_costs_only_itself(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Results) -> Iterator[Drawing]:
        raise ZeroDivisionError("no layers")
        yield

    monkeypatch.setitem(figures.FIGURES, "accuracy", broken)
    drawn = {drawing.name: drawing for drawing in draw(results)}
    assert "ZeroDivisionError: no layers" in drawn["accuracy"].caption
    assert drawn["accuracy"].save("svg").startswith(b"<?xml")
    assert "collapse" in drawn


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
                                            "no result", "published"}  # fmt: skip


def test_what_still_runs_is_no_cross_and_has_no_panels(results: Results) -> None:
    rows = [Row(row.cell) if row.cell.compression == 10 else row for row in results.rows]
    half = drawn(replace(results, rows=tuple(rows)))
    assert "no result" not in legend(half["accuracy"]) and "Crosses" not in half["accuracy"].caption
    assert "up to n = 2 seeds" in half["accuracy"].caption
    for kind in ("density", "layer-macs", "training"):
        assert [axis.get_title() for axis in half[f"{kind}-resnet20-cifar10"].figure.axes] == ["2x"]


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


def test_nothing_to_show_is_not_drawn(results: Results) -> None:
    bare = [Row(row.cell, row.status, row.run_id, {"final/top1": row.metrics.get("final/top1", 0.5)}, {})
            for row in results.rows]  # fmt: skip
    nothing = Details(results.details.client, {row.run_id: "file:///nowhere" for row in bare}, {}, {})
    nothing.histories([row.run_id for row in bare], "test/top1")
    for history in nothing._histories.values():
        history.clear()
    left = drawn(replace(results, rows=tuple(bare), details=nothing))
    assert left.keys() & (SHARED | PER_FACET) == {"accuracy"}


def test_cost_lines_are_the_means_of_the_runs(drawings: dict[str, Drawing], results: Results, store: Store) -> None:
    for name, key, whole in (
        ("params", "model/params_kept", "model/params"),
        ("macs", "model/macs_kept", "model/macs"),
        ("speedup", "model/speedup", None),
    ):
        left = drawings[name].figure.axes[0]
        drawn = next(line for line in left.lines if line.get_color() == look("snip").color)
        for compression, height in zip(drawn.get_xdata(), drawn.get_ydata(), strict=True):
            seeds = [
                store.logged[row.cell.fingerprint]
                for row in results.rows
                if (row.cell.architecture, row.cell.pruner) == ("vgg16-bn", "snip")
                and row.cell.compression == compression
            ]
            values = [100 * run[key] / run[whole] if whole else run[key] for run in seeds]
            assert height == pytest.approx(sum(values) / len(values))


def test_the_front_is_what_nothing_beats() -> None:
    places = [(1.0, 50.0), (2.0, 80.0), (2.0, 70.0), (3.0, 75.0), (4.0, 90.0), (5.0, 90.0)]
    assert front(places) == [(1.0, 50.0), (2.0, 80.0), (4.0, 90.0)]
    assert front(places, gain=True) == [(5.0, 90.0)]
    assert front([(4.0, 10.0), (1.0, 90.0), (2.0, 80.0), (2.0, 85.0)], gain=True) == [(4, 10), (2, 85), (1, 90)]


def test_faster_is_to_the_right_and_cheaper_too(drawings: dict[str, Drawing]) -> None:
    for name, inverted in (("tradeoff-speedup", False), ("tradeoff", True), ("tradeoff-training", True)):
        assert all(bool(axis.xaxis_inverted()) is inverted for axis in drawings[name].figure.axes)


def test_training_curves_are_medians(drawings: dict[str, Drawing], results: Results, store: Store) -> None:
    axis = drawings["training-vgg16-bn-cifar10"].figure.axes[-1]
    drawn = next(line for line in axis.lines if line.get_color() == look("synflow").color)
    client = MlflowClient(store.uri)
    runs = [
        row.run_id
        for row in results.rows
        if (row.cell.architecture, row.cell.pruner, row.cell.compression) == ("vgg16-bn", "synflow", 10)
    ]
    points = [{m.step: m.value for m in client.get_metric_history(run, "test/top1")} for run in runs]
    assert list(drawn.get_xdata()) == [1, 2, 3]
    assert list(drawn.get_ydata()) == pytest.approx([100 * median(p[e] for p in points) for e in (1, 2, 3)])


def test_layers_show_what_layers_json_has(drawings: dict[str, Drawing], results: Results) -> None:
    row = next(r for r in results.rows if (r.cell.architecture, r.cell.pruner, r.cell.compression, r.cell.seed)
               == ("vgg16-bn", "snip", 10, 0))  # fmt: skip
    table = results.details.artifact(row.run_id, "layers.json")
    for name, column, scale in (("density", "density", 100), ("layer-macs", "macs_kept", 1)):
        axis = drawings[f"{name}-vgg16-bn-cifar10"].figure.axes[1]
        assert axis.get_title() == "10x"
        drawn = next(line for line in axis.lines if line.get_color() == look("snip").color)
        index = table["columns"].index(column)
        assert list(drawn.get_ydata()) == pytest.approx([scale * entry[index] for entry in table["data"]])


def test_lines_that_coincide_are_drawn_once_and_said_so(results: Results) -> None:
    """All pruners keep equally many parameters, but some networks of random have collapsed, which is marked."""
    [facet, _] = facets(results)
    kept = "model/params_kept"
    even = {"model/params": 100.0, kept: 50.0}

    def measured(row: Row) -> Row:
        return replace(row, tags={}, metrics=row.metrics | even | {kept: 100 / row.cell.compression})

    same = replace(results, rows=tuple(map(measured, results.rows)))
    assert coinciding(same, facet, PARAMS_KEPT) == {"snip": "random", "synflow": "random"}
    [drawing] = against_compression.draw_params(same)
    lines = [line for line in drawing.figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert len(lines) == 2  # all pruners, and 1/compression
    assert "coincide are drawn once, as the first of: random, snip and synflow" in drawing.caption
    assert "coincide" not in next(accuracy.draw(results)).caption


def test_layers_are_named_on_their_axis(drawings: dict[str, Drawing]) -> None:
    for kind in ("density", "scores"):
        ticks = drawings[f"{kind}-resnet20-cifar10"].figure.axes[0].get_xticklabels()
        assert [tick.get_text() for tick in ticks][::4] == ["1: layers.0.conv", "5: head"]


def test_the_collapse_map_counts_runs(drawings: dict[str, Drawing]) -> None:
    left = drawings["collapse"].figure.axes[0]
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["random", "snip", "synflow"]
    assert [text.get_text() for text in left.texts] == ["1/2"]  # of two seeds one collapsed
    assert "no run collapsed" in legend(drawings["collapse"])


def test_ablations_are_bars(results: Results) -> None:
    kinds = ("none", "shuffle")
    rows = [
        replace(row, cell=row.cell.model_copy(update={"settings": {"ablation": kind}}))
        for kind in kinds
        for row in results.rows
    ]
    drawings = drawn(replace(results, rows=tuple(rows)))
    bars = drawings["ablation-vgg16-bn-cifar10"].figure.axes[0].patches
    assert len(bars) == 3 * 2
    snip = [100 * row.metrics["final/top1"] for row in results.rows
            if (row.cell.architecture, row.cell.pruner, row.cell.compression) == ("vgg16-bn", "snip", 2)]  # fmt: skip
    assert [bar.get_height() for bar in bars[2:4]] == pytest.approx([sum(snip) / len(snip)] * 2)


def test_one_panel_and_pruners_nobody_has_heard_of(store: Store) -> None:
    labels = ["my-own", "snip scope=global", "snip scope=layer"]
    build(store.folder, "own", ["mlp"], labels, [1, 4], [0], layers=1)
    drawings = drawn(read(store.uri, "own"))
    assert {"my-own", "snip scope=layer"} <= legend(drawings["accuracy"])
    assert all(drawing.save("svg") for drawing in drawings.values())


def test_a_dataset_without_any_result_has_no_empty_panels(results: Results) -> None:
    rows = [Row(row.cell.model_copy(update={"dataset": "mnist"})) for row in results.rows]
    drawings = drawn(replace(results, rows=(*results.rows, *rows)))
    assert "Without a result yet: vgg16-bn · mnist, resnet20 · mnist." in drawings["accuracy"].caption
    for name in ("accuracy", "tradeoff", "macs", "speedup"):
        assert len(drawings[name].figure.axes) == 2
        assert drawings[name].save("svg")


@pytest.mark.parametrize(
    ("ends", "labels"),
    [
        ((-2.1, 1.2), ["$10^{-2}$", "$10^{-1}$", "$10^{0}$", "$10^{1}$"]),
        ((-1.9, -0.1), ["0.02", "0.05", "0.1", "0.2", "0.5"]),
        ((-8.4, -7.6), [r"$5{\cdot}10^{-9}$", "$10^{-8}$", r"$2{\cdot}10^{-8}$"]),
    ],
)
def test_no_two_ticks_of_scores_say_the_same(ends: tuple[float, float], labels: list[str]) -> None:
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    axis.set_ylim(ends)
    power_ticks(axis.yaxis, ends)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == labels
