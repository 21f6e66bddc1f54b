"""What the page says of masks, against the masks themselves."""

from __future__ import annotations

import gzip
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from invented_sweep import build
from numpy.typing import NDArray
from safetensors.numpy import load

from orchestrator.report.explore import mask_overlap
from orchestrator.report.explore.chart_data import chart_data, marker_path
from orchestrator.report.explore.library import compressed
from orchestrator.report.explore.mask_overlap import MASKS, _cut, _layer, read_masks
from orchestrator.results.results import Results, read

PRUNERS = ("random", "snip", "synflow")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("masked")
    return read(build(folder, architectures=["resnet20"], compressions=(1, 10), masks=True).uri, "small")


def stored(results: Results, pruner: str, seed: int) -> dict[str, NDArray[np.bool_]]:
    [row] = [r for r in results.rows if (r.cell.pruner, r.cell.seed, r.cell.compression) == (pruner, seed, 10)]
    [(_, content)] = results.details.files([row.run_id], MASKS)
    return load(content)


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> int:
    return round(1000 * float((one & other).sum() / (one | other).sum()))


def test_overlaps_are_those_of_the_masks(results: Results) -> None:
    found = read_masks(results)
    names = [layer["name"] for layer in found["layers"][0]]
    assert names == ["1: layers.0.conv", "2: layers.1.conv", "3: layers.2.conv", "4: layers.3.conv", "5: head"]
    [place] = found["overlaps"]
    snip = [stored(results, "snip", seed) for seed in (0, 1)]
    random = stored(results, "random", 1)
    keys = [*(f"layers.{i}.conv.weight" for i in range(4)), "head.weight"]
    assert place["seeds"][1][:-1] == [iou(snip[0][key], snip[1][key]) for key in keys]
    assert set(place["pairs"]) == {"0 1"}  # synflow has failed
    pairs = [(stored(results, "random", seed), snip[seed]) for seed in (0, 1)]
    last = sum(iou(a["head.weight"], b["head.weight"]) for a, b in pairs) / 2
    assert place["pairs"]["0 1"][4] == pytest.approx(last, abs=1)
    whole = (
        np.concatenate([random[key].ravel() for key in keys]),
        np.concatenate([snip[1][key].ravel() for key in keys]),
    )
    both = (
        np.concatenate([pairs[0][0][key].ravel() for key in keys]),
        np.concatenate([snip[0][key].ravel() for key in keys]),
    )
    assert place["pairs"]["0 1"][-1] == pytest.approx((iou(*whole) + iou(*both)) / 2, abs=1)


def test_pictures_and_counts_are_those_of_the_masks(results: Results) -> None:
    found = read_masks(results)
    assert (found["read"], found["trials"], found["side"]) == (4, 4, 32)
    [run] = [run for run in found["runs"].values() if (run["p"], run["seed"]) == (1, 0)]
    mask = stored(results, "snip", 0)["layers.0.conv.weight"]
    picture = run["picture"][: 12 * 8]
    assert [letter != "0" for letter in picture] == mask.any(axis=(2, 3)).ravel().tolist()
    densest = mask.mean(axis=(2, 3)).ravel().argmax()
    assert picture[densest] == max(picture)
    assert run["kept"][0] == mask.sum() and run["rows"][0] == mask.any(axis=(1, 2, 3)).sum()
    [collapsed] = [run for run in found["runs"].values() if run["cut"]]
    assert (collapsed["p"], collapsed["seed"], collapsed["cut"], collapsed["kept"][0]) == (0, 0, [0], 0)


def test_a_network_is_cut_where_a_layer_reads_only_dead_filters() -> None:
    first, second = np.zeros((4, 3), bool), np.zeros((2, 4), bool)
    first[:2], second[:, 2:] = True, True  # filters 0 and 1 live, filters 2 and 3 are read
    assert _cut({"a": _layer(first), "b": _layer(second)}) == [1]
    second[:, 1] = True
    assert _cut({"a": _layer(first), "b": _layer(second)}) == []


def test_many_masks_are_not_all_read_and_large_pictures_are_coarser(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = max(row.metrics.get("model/params", 0) for row in results.rows)
    monkeypatch.setattr(mask_overlap, "MOST_BYTES", 2.5 * size)
    monkeypatch.setattr(mask_overlap, "PICTURES", 200)
    found = read_masks(results)
    assert (found["read"], found["trials"], found["side"]) == (2, 4, 4)
    assert {run["seed"] for run in found["runs"].values()} == {0}  # the first seeds of all pruners


def test_charts_have_the_points_of_the_figures(results: Results) -> None:
    data = chart_data(results, "http://host/#/experiments/1/runs/")
    [point] = [p for p in data["points"] if (p["p"], p["c"]) == (1, 10)]
    values = [
        100 * r.metrics["final/top1"] for r in results.rows if (r.cell.pruner, r.cell.compression) == ("snip", 10)
    ]
    mean, low, high, n, start, end = point["values"]["accuracy"]
    assert [mean, low, high, n] == pytest.approx([np.mean(values), min(values), max(values), 2], rel=1e-4)
    assert start < mean < end
    lost = [p for p in data["points"] if p["lost"]]
    assert [(data["pruners"][p["p"]]["name"], p["c"], p["missing"]) for p in lost] == [
        ("synflow", 10, "1 failed, 1 not run")
    ]


def test_what_is_compressed_comes_back(tmp_path: Path) -> None:
    assert gzip.decompress(b64decode(compressed(b"script"))) == b"script"
    assert compressed(b"script") == compressed(b"script")


def test_markers_are_paths() -> None:
    assert marker_path("s").startswith("M-1.00 1.00L1.00 1.00")
    assert "C" in marker_path("o")
