"""How each layer's kept weights and its scores lie: numbers for the report, a picture for MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruners import layer_weights

BINS = 41


def histograms(model: nn.Module, masks: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Per layer `{"layer", "edges", "counts"}`: 41 symmetric bins over the kept weights."""
    layers = []
    for name, weight in layer_weights(model).items():
        kept = weight.detach()[masks[name]] if name in masks else weight.detach().flatten()
        kept = kept.float().cpu()
        limit = float(kept.abs().max()) if kept.numel() else 1.0
        counts, edges = torch.histogram(kept, BINS, range=(-limit or -1.0, limit or 1.0))
        layers.append({"layer": name, "edges": edges.tolist(), "counts": counts.int().tolist()})
    return layers


def score_histograms(scores: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Per layer `{"layer", "edges", "counts", "zeros"}`: 41 bins over log10 |score|; what is not finite is left out.

    The logarithm, because the scores of one layer spread over many powers of ten.
    """
    layers = []
    for name, score in scores.items():
        sizes = score.detach().flatten().abs().double().cpu()
        zeros = int((sizes == 0).sum())
        powers = sizes[(sizes > 0) & sizes.isfinite()].log10()
        low, high = (float(powers.min()), float(powers.max())) if powers.numel() else (-1.0, 0.0)
        counts, edges = torch.histogram(powers, BINS, range=(low, high if high > low else low + 1.0))
        layers.append({"layer": name, "edges": edges.tolist(), "counts": counts.int().tolist(), "zeros": zeros})
    return layers


def draw(layers: list[dict[str, Any]], title: str, path: Path) -> None:
    """One ridge per layer, first layer on top, each scaled to its own width and height."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 1 + 0.32 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    for row, layer in enumerate(reversed(layers)):
        edges, counts = layer["edges"], layer["counts"]
        limit, top = edges[-1], max(counts) or 1
        heights = [row + 0.9 * count / top for count in counts]
        axes.stairs(heights, [edge / limit for edge in edges], baseline=row, fill=True, alpha=0.75, lw=0)
        axes.text(1.03, row + 0.1, f"{layer['layer']}  ±{limit:.2g}", fontsize=7)
    axes.set(yticks=[], xticks=[-1, 0, 1], xlabel="kept weights, as a share of the layer's largest", xlim=(-1, 1))
    axes.set_title(title, fontsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
