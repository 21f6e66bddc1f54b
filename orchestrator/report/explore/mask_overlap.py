"""Masks of a report's trials, read once: a small picture of each layer, and how far masks overlap."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from orchestrator.report.figures.finding import layer_name
from orchestrator.results.lines import facets, pruned, pruners, rows_at
from orchestrator.results.results import Results
from orchestrator.results.row import Row

MASKS = "masks.safetensors"
MOST_BYTES = 2**29  # of all masks that are read: 1 byte a weight, so 36 networks of VGG-16's size
PICTURES = 450_000  # most bytes of all pictures, compressed; above, they are drawn coarser
SIDES = (32, 16, 8, 4)  # most rows and columns of a picture
LEVELS = "0123456789abcdef"  # 0: nothing kept; 1 to f: density from 0.0001 to 1, on a logarithmic scale


Picture = NDArray[np.floating[Any]]  # [rows, columns]: densities


@dataclass(frozen=True, eq=False)
class LayerMask:
    """A layer's mask, as little as the page needs of it."""

    shape: tuple[int, ...]
    bits: NDArray[np.uint8]  # packed, in the order of the weights
    picture: Picture  # density of blocks of filters × inputs, at most 32 × 32
    rows: NDArray[np.bool_]  # filters that keep a weight
    columns: NDArray[np.bool_]  # inputs that some kept weight reads


LayerMasks = dict[str, LayerMask]


def read_masks(results: Results) -> dict[str, Any]:
    """Return pictures of masks per run, and the overlaps of pruners and of seeds per facet and compression.

    Masks are read one compression of a facet at a time. If all would be larger than `MOST_BYTES`, only the first seeds
    of evenly many cells are read, and `read` of `trials` says so.
    """
    chosen, of = _chosen(results)
    shown, names = facets(results), pruners(results)
    layers: list[LayerMasks] = [{} for _ in shown]
    runs: dict[str, dict[str, Any]] = {}
    pictures: dict[str, list[Picture]] = {}
    overlaps = []
    for f, facet in enumerate(shown):
        for compression in pruned(results, facet):
            places = {
                row.run_id: (p, row)
                for p, name in enumerate(names)
                for row in rows_at(results, facet, name, compression)
                if row.run_id in chosen
            }
            masks = dict(_read(results, list(places)))
            for run, found in masks.items():
                p, row = places[run]
                layers[f] = layers[f] or found
                if _form(layers[f]) != _form(found):
                    continue  # a network of another form under the same name has no common picture
                place = {"f": f, "p": p, "c": compression, "seed": row.cell.seed}
                runs[run] = place | _units(found) | {"cut": _cut(found) if row.collapsed else []}
                pictures[run] = [mask.picture for mask in found.values()]
            here = {(places[run][0], places[run][1].cell.seed): masks[run] for run in masks if run in runs}
            if here:
                overlaps.append({"f": f, "c": compression, **_overlaps(here)})
    side, texts = _small_enough(pictures)
    for run, text in texts.items():
        runs[run]["picture"] = text
    named = [
        [{"name": layer_name(name, place), "shape": mask.shape} for place, (name, mask) in enumerate(found.items(), 1)]
        for found in layers
    ]
    return {"side": side, "layers": named, "runs": runs, "overlaps": overlaps, "read": len(runs), "trials": of}


def _form(masks: LayerMasks) -> list[tuple[str, tuple[int, ...]]]:
    return [(name, mask.shape) for name, mask in masks.items()]


def _chosen(results: Results) -> tuple[set[str], int]:
    """Return the runs whose masks are read, lowest seeds first, and the number of runs with masks."""
    rows: dict[str, tuple[int, Row]] = {}
    for facet in facets(results):
        for compression in pruned(results, facet):
            for name in pruners(results):
                done = [row for row in rows_at(results, facet, name, compression) if row.status == "finished"]
                for rank, row in enumerate(sorted(done, key=lambda row: row.cell.seed)):
                    rows[row.run_id] = (rank, row)
    chosen, size = set(), 0.0
    for _, row in sorted(rows.values(), key=lambda ranked: ranked[0]):
        size += row.metrics.get("model/params", 0)
        if size <= MOST_BYTES:
            chosen.add(row.run_id)
    return chosen, len(rows)


def _read(results: Results, runs: Sequence[str]) -> Iterator[tuple[str, LayerMasks]]:
    """Yield the masks of each run that has stored them, in the order of its layers, which their file does not keep."""
    tables = results.details.artifacts(runs, "layers.json")
    for start in range(0, len(runs), 8):  # the masks of eight runs are in memory at once, before they are packed
        for run, content in results.details.files(runs[start : start + 8], MASKS):
            try:
                tensors = load(content)
            except SafetensorError:
                continue  # a file of a run that was killed while it was written
            table = tables[run] or {"data": []}
            order = {name: place for place, (name, *_) in reversed([*enumerate(table["data"])])}
            names = sorted(tensors, key=lambda name: (order.get(name, len(order)), name))
            if masks := {
                name: _layer(tensors[name]) for name in names if tensors[name].ndim > 1 and tensors[name].size
            }:
                yield run, masks


def _layer(mask: NDArray[np.bool_]) -> LayerMask:
    kernels = mask.reshape(*mask.shape[:2], -1)
    density = kernels.mean(axis=2, dtype=np.float32)
    rows, columns = (np.asarray(density.max(axis=axis) > 0) for axis in (1, 0))
    return LayerMask(mask.shape, np.packbits(mask), _pooled(density, SIDES[0]), rows, columns)


def _pooled(picture: Picture, side: int) -> Picture:
    """Return means of blocks, at most `side` rows and columns of them."""
    for axis in (0, 1):
        size = picture.shape[axis]
        if size > side:
            starts = np.arange(side) * size // side
            widths = np.diff(np.append(starts, size))
            sums = np.add.reduceat(picture, starts, axis=axis)
            picture = sums / (widths[:, None] if axis == 0 else widths[None, :])
    return picture


def _units(masks: LayerMasks) -> dict[str, list[int]]:
    """Return per layer the number of kept weights, of filters that keep one, and of inputs that one reads."""
    return {
        "kept": [int(np.bitwise_count(mask.bits).sum()) for mask in masks.values()],
        "rows": [int(mask.rows.sum()) for mask in masks.values()],
        "columns": [int(mask.columns.sum()) for mask in masks.values()],
    }


def _cut(masks: LayerMasks) -> list[int]:
    """Return the layers at which a collapsed network is cut: the empty ones, else those that read only dead filters.

    The second is known only where a layer has one input per filter of the layer before it.
    """
    found = list(masks.values())
    empty = [number for number, mask in enumerate(found) if not mask.rows.any()]
    if empty:
        return empty
    return [
        number
        for number, (before, mask) in enumerate(pairwise(found), 1)
        if before.rows.size == mask.columns.size and not (before.rows & mask.columns).any()
    ]


def _overlaps(masks: Mapping[tuple[int, int], LayerMasks]) -> dict[str, Any]:
    """Return the mean intersection over union per layer, in thousandths: of two pruners, and of a pruner's two seeds.

    Pruners are compared with equal seeds, so over equal initial weights.
    """
    between: dict[str, list[list[float]]] = {}
    seeds: dict[int, list[list[float]]] = {}
    for ((p, seed), one), ((q, other_seed), other) in combinations(sorted(masks.items(), key=lambda m: m[0]), 2):
        if p == q:
            seeds.setdefault(p, []).append(_iou(one, other))
        elif seed == other_seed:
            between.setdefault(f"{p} {q}", []).append(_iou(one, other))
    return {
        "pairs": {key: [_mean(values) for values in zip(*found, strict=True)] for key, found in between.items()},
        "seeds": {key: [_mean(values) for values in zip(*found, strict=True)] for key, found in seeds.items()},
    }


def _iou(one: LayerMasks, other: LayerMasks) -> list[float]:
    """Return the intersection over union per layer, and at the end that of the whole network; NaN without weights."""
    common = [int(np.bitwise_count(a.bits & b.bits).sum()) for a, b in zip(one.values(), other.values(), strict=True)]
    either = [int(np.bitwise_count(a.bits | b.bits).sum()) for a, b in zip(one.values(), other.values(), strict=True)]
    counts = [*zip(common, either, strict=True), (sum(common), sum(either))]
    return [part / whole if whole else float("nan") for part, whole in counts]


def _mean(values: Sequence[float]) -> int | None:
    known = [value for value in values if not math.isnan(value)]
    return round(1000 * fmean(known)) if known else None


def _small_enough(pictures: Mapping[str, Sequence[Picture]]) -> tuple[int, dict[str, str]]:
    """Return the side of the largest pictures that fit `PICTURES` together, and each run's as text, layer by layer."""
    texts: dict[str, str] = {}
    side = SIDES[0]
    for side in SIDES:
        texts = {run: "".join(_text(_pooled(layer, side)) for layer in found) for run, found in pictures.items()}
        if len(gzip.compress("".join(texts.values()).encode(), 6)) <= PICTURES:
            break
    return side, texts


def _text(picture: Picture) -> str:
    levels = np.where(picture > 0, np.clip(np.rint(15 + 14 / 4 * np.log10(np.maximum(picture, 1e-9))), 1, 15), 0)
    return "".join(LEVELS[level] for level in levels.astype(int).ravel())
