"""Results of a trial besides its curves: masks, per-layer profile, costs, trained weights and histograms."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pruners import empty_layers, layer_weights
from pruners import layers as prunable_layers
from pruners.selection import tied_share
from pruners.weights import per_layer
from search_spaces import Trial
from trainables.measures import Found
from trainables.profiling import (
    LayerProfile,
    Unmeasured,
    collapsed,
    compacted_metrics,
    file_mb,
    own_memory,
    paths,
    profile,
)
from trainables.record.checkpoint import read_or_set_aside
from trainables.record.event_log import EventLog
from trainables.record.files import appears, write_atomically
from trainables.record.predictions import PREDICTIONS, Predictions
from trainables.shared.pretraining import WEIGHTS

BINS = 41


def histograms(model: nn.Module, masks: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Return per layer `{"layer", "edges", "counts"}`: 41 symmetric bins over the kept weights."""
    layers = []
    for name, weight in layer_weights(model).items():
        kept = weight.detach()[masks[name]] if name in masks else weight.detach().flatten()
        kept = kept.float().cpu()
        limit = float(kept.abs().max()) if kept.numel() else 1.0
        counts, edges = torch.histogram(kept, BINS, range=(-limit or -1.0, limit or 1.0))
        layers.append({"layer": name, "edges": edges.tolist(), "counts": counts.int().tolist()})
    return layers


def score_histograms(scores: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Return per layer `{"layer", "edges", "counts", "zeros"}`: 41 bins over log10 |score| of finite nonzero scores.

    Logarithms are used because the scores of one layer spread over many powers of ten.
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


def draw_histograms(layers: list[dict[str, Any]], title: str, path: Path) -> None:
    """Draw histograms as an image: one ridge per layer, first layer on top, each scaled to its own width and height.

    Every trial draws one, so it is drawn without matplotlib's axes and layout, which take more than half of the time.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    labels = [f"{layer['layer']}  ±{layer['edges'][-1]:.2g}" for layer in layers]
    left, middle, right, bottom, ridge = 0.3, 1.8, 3.3, 0.55, 0.32  # inches: the scale from -1 to 1, and a row
    width = right + 0.2 + 0.065 * max(map(len, labels), default=0)
    height = bottom + ridge * len(layers) + 0.4
    figure = Figure(figsize=(width, height))
    inches = figure.dpi_scale_trans

    def write(x: float, y: float, text: str, size: float = 9, ha: str = "center") -> None:
        figure.text(x, y, text, fontsize=size, ha=ha, transform=inches)

    outlines = []
    for row, (layer, name) in enumerate(zip(reversed(layers), reversed(labels), strict=True)):
        edges, counts, base = layer["edges"], layer["counts"], bottom + row * ridge
        x = np.repeat(edges, 2) / edges[-1] * (right - middle) + middle
        y = base + 0.9 * ridge * np.repeat(counts, 2) / (max(counts) or 1)
        outlines.append(np.column_stack((x, [base, *y, base])))
        write(right + 0.05, base + 0.1 * ridge, name, size=7, ha="left")
    colours = [f"C{row % 10}" for row in range(len(layers))]
    figure.add_artist(PolyCollection(outlines, facecolors=colours, alpha=0.75, transform=inches))
    scale = [[(left, bottom), (right, bottom)], *([(x, bottom), (x, bottom - 0.05)] for x in (left, middle, right))]
    figure.add_artist(PolyCollection(scale, closed=False, edgecolors="black", linewidths=0.8, transform=inches))
    for position, text in ((left, "−1"), (middle, "0"), (right, "1")):
        write(position, bottom - 0.2, text)
    write(middle, 0.1, "kept weights, as a share of the layer's largest")
    write(middle, height - 0.25, title)
    figure.savefig(path, dpi=110)


COLUMNS = ("layer", "shape", "params", "kept", "density", "macs", "macs_kept", "score_mean", "score_std")


@dataclass(frozen=True)
class Recorder:
    """Writer of a trial's results: files into its folder, params, metrics and tags into its event log."""

    trial: Trial
    folder: Path
    outbox: EventLog

    def begun(self, device: torch.device) -> None:
        """Record the trial, its versions and its machine before anything is computed."""
        self.outbox.params(self.trial.params())
        self.outbox.tags({"python": platform.python_version(), "torch": torch.__version__})
        self.outbox.tags({"machine": machine(device), "device": device.type})
        self._text("trial.json", self.trial.model_dump_json(indent=1) + "\n")

    def stored_masks(self, device: torch.device) -> dict[str, Tensor] | None:
        """Return the masks that `pruned` recorded, or None if there are none yet; {} for the dense trial."""
        file = self.folder / "masks.safetensors"
        if file.name not in self.outbox.artifacts:  # a copied folder may have files newer than its event log
            return None
        damaged = file.with_name(f"{file.name}.damaged")
        appears(lambda: file.exists() or damaged.exists())  # another node may have written it
        return read_or_set_aside(file, lambda: load_file(file, device=str(device)))

    def pruned(
        self,
        model: nn.Module,
        masks: Mapping[str, Tensor],
        scores: Mapping[str, Tensor],
        input_shape: tuple[int, int, int],
    ) -> None:
        """Record the pruned network: per-layer profile, sizes, scores and masks.

        The masks are written last: their file shows that everything else is recorded.
        """
        unmeasured = Unmeasured()
        layers, parts = profile(model, masks, scores, input_shape, unmeasured), prunable_layers(model)
        for step, layer in enumerate(layers):
            if layer.params:
                self.outbox.metrics({"profile/density": layer.density}, step)
            if layer.macs_kept is not None:
                self.outbox.metrics({"profile/macs_kept": layer.macs_kept}, step)
        reach, reason = paths(model, masks, input_shape)
        gone = collapsed(model, masks, input_shape)
        self.outbox.tags({"collapsed": str(gone).lower()} | ({"paths": reason[:500]} if reason else {}))
        self.outbox.metrics(
            _sizes(model, layers)
            | reach
            | {
                "prune/empty_layers": len(empty_layers(per_layer(masks, parts))),
                "prune/zero_scores": sum(int((score == 0).sum()) for score in scores.values()),
            }
            | (
                unmeasured.attempt("prune/tied_scores", self._ties, per_layer(masks, parts), per_layer(scores, parts))
                or {}
            )
        )
        self._text("layers.json", json.dumps({"columns": COLUMNS, "data": [_row(layer) for layer in layers]}))
        spread = unmeasured.attempt("score histograms", score_histograms, scores)
        if spread:
            self._text("scores.json", json.dumps({"layers": spread}))
        self.outbox.tags(unmeasured.tags())
        self._tensors("masks.safetensors", masks)

    def _ties(self, masks: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the share of kept weights that rounding decides; {} unless plain scores select single weights."""
        trial = self.trial
        if not scores or trial.granularity != "weight" or trial.ablation in ("shuffle", "invert"):
            return {}
        return {"prune/tied_scores": tied_share(scores, masks, trial.scope)}

    def measured(self, found: Found) -> None:
        """Record the table and the metrics of a measure."""
        self._text("measure.json", json.dumps({"columns": found.columns, "data": found.rows}))
        self.outbox.metrics(found.metrics)

    def tested(self, predictions: Predictions) -> None:
        """Record what the trained network answered to each test image."""
        content = predictions.to_bytes()
        write_atomically(self.folder / PREDICTIONS, lambda path: path.write_bytes(content))
        self.outbox.artifact(PREDICTIONS)

    def trained(
        self,
        model: nn.Module,
        masks: Mapping[str, Tensor],
        input_shape: tuple[int, int, int],
        weights_mb: float,
    ) -> None:
        """Record the trained model's costs once compacted and its weight histograms; keep its weights if small enough.

        Anything that cannot be measured for this network is left out, and a tag says why, because the training is done.
        Weights of the dense trial stay on disk whatever their size: trials that prune trained weights start from them.
        """
        unmeasured = Unmeasured()
        costs, reason = compacted_metrics(model, masks, input_shape, unmeasured)
        self.outbox.metrics(costs)
        if reason:
            self.outbox.tags({"compaction": reason[:500]})
        unmeasured.attempt("histograms", self._histograms, model, masks)
        size = unmeasured.attempt("weights", file_mb, model)
        if size is not None and (size <= weights_mb or self.trial.pruner == "dense"):
            self._tensors(WEIGHTS, model.state_dict(), listed=size <= weights_mb)
        self.outbox.tags(unmeasured.tags())

    def _histograms(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        counts = histograms(model, masks)
        self._text("histograms.json", json.dumps({"layers": counts}))
        draw_histograms(counts, self.trial.name, self.folder / "histograms.png")
        self.outbox.artifact("histograms.png")

    def _text(self, name: str, text: str) -> None:
        write_atomically(self.folder / name, lambda path: path.write_text(text, encoding="utf-8"))
        self.outbox.artifact(name)

    def _tensors(self, name: str, tensors: Mapping[str, Tensor], listed: bool = True) -> None:
        plain = own_memory({key: tensor.cpu() for key, tensor in tensors.items()})
        write_atomically(self.folder / name, lambda path: save_file(plain, path))
        if listed:
            self.outbox.artifact(name)


def machine(device: torch.device) -> str:
    """Return a description of the machine that computes: the GPU's name, or the CPU's capability and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.backends.cpu.get_cpu_capability()} CPU, {platform.machine()}, threads={torch.get_num_threads()}"


def _sizes(model: nn.Module, layers: list[LayerProfile]) -> dict[str, float]:
    params = sum(parameter.numel() for parameter in model.parameters())
    names = prunable_layers(model)
    competing = [layer for layer in layers if layer.name in names]
    weights, kept = sum(layer.params for layer in competing), sum(layer.kept for layer in competing)
    return {
        "model/params": params,
        "model/params_kept": params - weights + kept,
        "model/compression": weights / kept,
    } | _work(layers)


def _work(layers: list[LayerProfile]) -> dict[str, float]:
    known = [
        (layer.macs, layer.macs_kept) for layer in layers if layer.macs is not None and layer.macs_kept is not None
    ]
    if len(known) < len(layers):
        return {}
    return {"model/macs": sum(macs for macs, _ in known), "model/macs_kept": sum(kept for _, kept in known)}


def _row(layer: LayerProfile) -> list[Any]:
    return [
        layer.name,
        "×".join(map(str, layer.shape)),
        layer.params,
        layer.kept,
        layer.density,
        layer.macs,
        layer.macs_kept,
        layer.score_mean,
        layer.score_std,
    ]
