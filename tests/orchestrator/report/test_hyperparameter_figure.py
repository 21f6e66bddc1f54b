"""A setting that a space varies becomes the axis of a figure, where its values are numbers and enough."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from matplotlib.axes import Axes

from orchestrator.report.figures import hyperparameter
from orchestrator.report.figures.style import Drawing
from orchestrator.results.results import Results
from orchestrator.results.row import Row
from search_spaces import Cell

TOP1 = {1: 0.5, 4: 0.6, 20: 0.8}


def row(pruner: str, top1: float, compression: float = 10, seed: int = 0, **settings: object) -> Row:
    cell = Cell(dataset="digits", architecture="conv", pruner=pruner, compression=compression, seed=seed,
                settings=settings, fingerprint=f"{pruner}{seed}")  # fmt: skip
    return Row(cell, "finished", "run", {"final/top1": top1})


def drawn(*rows: Row) -> list[Drawing]:
    details = SimpleNamespace()
    return list(hyperparameter.draw(Results("e", "1", (), rows, {}, (), details)))  # type: ignore[arg-type]


def lines(axis: Axes) -> list[tuple[list[float], list[float]]]:
    """The lines, without the markers on them."""
    found = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]  # type: ignore[arg-type]
    return [line for line in found if len(line[0]) > 1]


def test_a_pruners_setting_is_the_axis() -> None:
    rows = [row(f"ntk-sap iterations={n}", top1 + 0.1 * seed, seed=seed) for n, top1 in TOP1.items() for seed in (0, 1)]
    rows += [row(f"ntk-sap iterations={n}", 0.9, compression=2) for n in TOP1] + [row("snip", 0.7)]
    (figure,) = drawn(*rows)
    (axis,) = figure.figure.axes
    assert (figure.name, axis.get_title(), axis.get_xlabel()) == (
        "setting-iterations",
        "ntk-sap · conv · digits",
        "iterations",
    )
    assert axis.get_xscale() == "log" and [tick.get_text() for tick in axis.get_xticklabels()] == ["1", "4", "20"]
    two, ten = lines(axis)
    assert two == ([1, 4, 20], [90, 90, 90])
    assert ten[0] == [1, 4, 20] and ten[1] == pytest.approx([55, 65, 85])
    assert [text.get_text() for text in figure.figure.legends[0].get_texts()] == ["2x", "10x"]


def test_so_is_a_field_that_every_pruner_shares_one_panel_for_each() -> None:
    (figure,) = drawn(
        *(row(name, 0.5, lr=lr, schedule="cosine") for name in ("snip", "random") for lr in (0.1, 0.2, 0.4))
    )
    titles = [axis.get_title() for axis in figure.figure.axes]
    assert titles == ["snip · conv · digits · schedule=cosine", "random · conv · digits · schedule=cosine"]
    assert figure.figure.axes[0].get_xscale() == "linear"


def test_words_names_and_two_values_are_no_axis() -> None:
    assert not drawn(*(row("snip", 0.5, scope=scope) for scope in ("global", "layer", "erk")))
    assert not drawn(*(row(f"snip mask={digits}", 0.5) for digits in ("10000000", "20000000", "30000000")))
    assert not drawn(row("snip", 0.5, lr=0.1), row("snip", 0.5, lr=0.2))
