"""Selections: what an expression keeps, and how it says what it cannot read."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from invented_sweep import Store

from orchestrator.results.results import Results, read
from orchestrator.results.store import ReportError
from orchestrator.results.where_filter import where
from search_spaces import Cell


@pytest.fixture(scope="module")
def results(store: Store) -> Results:
    return read(store.uri, "small")


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("pruner = snip", lambda c: c.pruner == "snip"),
        ("pruner != snip", lambda c: c.pruner != "snip"),
        ("pruner in (snip, 'synflow')", lambda c: c.pruner in ("snip", "synflow")),
        ("pruner not in (snip, synflow)", lambda c: c.pruner == "random"),
        ("compression <= 2", lambda c: c.compression <= 2),
        ("compression = 10x", lambda c: c.compression == 10),
        ("density < 0.5", lambda c: c.compression > 2),
        ("seed = 1 and compression > 1 and pruner = random", lambda c: (c.seed, c.pruner) == (1, "random")
         and c.compression > 1),
        ("seed = 1 or compression = 2 and pruner = snip", lambda c: c.seed == 1
         or (c.compression, c.pruner) == (2, "snip")),
        ("(seed = 1 or compression = 2) and pruner = snip", lambda c: (c.seed == 1 or c.compression == 2)
         and c.pruner == "snip"),
        ("not (pruner = snip or architecture = resnet20)", lambda c: c.pruner != "snip"
         and c.architecture != "resnet20"),
        ("epochs == 3", lambda c: True),
        ("architecture = VGG16-BN", lambda c: c.architecture == "vgg16-bn"),
    ],
)  # fmt: skip
def test_what_is_kept(results: Results, expression: str, holds: Callable[[Cell], bool]) -> None:
    kept = where(results, expression)
    assert [row.cell for row in kept.rows] == [row.cell for row in results.rows if holds(row.cell)]
    assert set(kept.trials) == {row.cell.fingerprint for row in kept.rows}
    assert kept.selection == expression


def test_a_name_means_its_variants_too(results: Results) -> None:
    first, *rest = results.rows
    from dataclasses import replace

    variant = replace(first, cell=first.cell.model_copy(update={"pruner": "snip scope=layer"}))
    both = replace(results, rows=(variant, *rest))
    assert variant in where(both, "pruner = snip").rows
    assert where(both, 'pruner = "snip scope=layer"').rows == (variant,)


def test_failed_cells_can_be_asked_for_but_not_alone(results: Results) -> None:
    assert len(where(results, "status in (failed, finished)").rows) == len(results.rows) - 1
    with pytest.raises(ReportError, match=r"no trial has finished yet \(cells: 1 failed\)"):
        where(results, "status = failed")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("pruner", "expected =, !=, <, <=, >, >= or in after 'pruner', found the end"),
        ("pruner = ", "expected a value, found the end"),
        ("pruner = snip synflow", "expected the end, 'and' or 'or', found 'synflow'"),
        ("pruner in (snip", r"expected '\)', found the end"),
        ("= 3", "expected a field, found '='"),
        ("'open", "cannot read ''open'"),
        ("pruner in (snip, synflw)", "no cell has the pruner 'synflw'; did you mean 'synflow'"),
        ("__import__('os')", "no cell has a field '__import__'"),
        ("depth > 3", "no cell has a field 'depth'; did you mean|no cell has a field 'depth'; there are"),
    ],
)
def test_mistakes_are_said_in_one_line(results: Results, expression: str, said: str) -> None:
    with pytest.raises(ReportError, match=said) as caught:
        where(results, expression)
    assert str(caught.value).startswith("--where: ") and "\n" not in str(caught.value)
