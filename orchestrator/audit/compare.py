"""Compare what a trial logged with what was recomputed, each number within its stated rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor, nn

from orchestrator.audit.counts import Macs, asked
from orchestrator.audit.plain import Hits, Tested
from orchestrator.results.details import History
from search_spaces import Trial
from trainables.metrics import METRICS
from trainables.record.predictions import Predictions
from trainables.training.trainer import updates_weights

SAME_DEVICE, OTHER_DEVICE = 1e-4, 1e-3  # relative rounding of float32 losses and logits
EXACT = 1e-9  # relative, of numbers computed in float64 from counts


@dataclass(frozen=True)
class Logged:
    """Everything that MLflow holds of a run."""

    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    layers: Sequence[Mapping[str, Any]] | None  # the rows of layers.json
    histories: Mapping[str, History]  # of the metrics in `HISTORIES`


HISTORIES = tuple(name for name, kept in METRICS.items() if name.startswith("test/") or kept.when == "layer")


@dataclass(frozen=True)
class Check:
    """One number as logged and as recomputed; or a fact, stated by its name."""

    name: str
    logged: float | str | None
    found: float | str
    agrees: bool

    @property
    def words(self) -> str:
        """Return the check as text, such as `final/top1 0.93 logged, 0.91 recomputed`."""
        if self.logged == "":
            return self.name
        if self.logged is None:
            return f"{self.name} not logged, {_text(self.found)} recomputed"
        return f"{self.name} {_text(self.logged)} logged, {_text(self.found)} recomputed"


def record(logged: Logged, trial: Trial) -> Iterator[Check]:
    """Compare the run's tag and params with the record in trial.json."""
    yield _same("fingerprint", logged.tags.get("fingerprint"), trial.fingerprint)
    for key, value in trial.params().items():
        if key in logged.params and logged.params[key][:500] != value[:500]:
            yield Check(f"params/{key}", logged.params[key][:60], value[:60], False)


def accuracy(logged: Logged, tested: Tested, rounding: float, prefix: str = "final/") -> Iterator[Check]:
    """Compare loss and accuracies; counts of images must be equal, but for images that rounding of logits decides."""
    metrics = logged.metrics
    yield _near(f"{prefix}loss", metrics.get(f"{prefix}loss"), tested.loss, rounding, 1e-7)
    yield _hits(f"{prefix}top1", metrics.get(f"{prefix}top1"), tested.top1, tested.images)
    if prefix == "final/":  # held-out images have no top-5
        yield _hits("final/top5", metrics.get("final/top5"), tested.top5, tested.images)


def predictions(logged: Logged, stored: Predictions, test_y: Tensor, test_set: tuple[str, str]) -> Iterator[Check]:
    """Compare the stored predictions with the logged accuracies and with the classes of the test images."""
    where = "predictions.safetensors"
    yield _same("test set", " ".join(stored.test_set), " ".join(test_set), where)
    for key, bits in (("top1", stored.top1), ("top5", stored.top5)):
        yield _same(f"final/{key}", logged.metrics.get(f"final/{key}"), int(bits.sum()) / len(bits), where)
    if len(test_y) == len(stored.classes):
        wrong = int(np.count_nonzero((stored.classes == test_y.numpy()) != stored.top1))
        yield Check(f"predicted classes that do not fit their bits ({where})", 0, wrong, wrong == 0)


def curves(logged: Logged, trial: Trial) -> Iterator[Check]:
    """Compare the final metrics with those of the last and the best epoch; copies must be equal to the last bit."""
    if points := logged.histories.get("test/top1"):
        yield _same("last epoch", max(points), trial.epochs)
    for key in ("loss", "top1", "top5"):
        points = logged.histories.get(f"test/{key}", {})
        if points:
            final = logged.metrics.get(f"final/{key}")
            yield _same(f"final/{key}", final, points[max(points)], f"test/{key} of the last epoch")
    epochs = [*logged.histories.get("test/top1", {}).values(), logged.metrics.get("final/top1", 0.0)]
    yield _same("best/top1", logged.metrics.get("best/top1"), max(epochs), "best of all epochs")


def kept(logged: Logged, trial: Trial, model: nn.Module, masks: Mapping[str, Tensor]) -> Iterator[Check]:
    """Compare the counts of kept weights with the requested compression, the metrics and the table of layers."""
    sizes = {name: mask.numel() for name, mask in masks.items()}
    left = {name: int(mask.sum()) for name, mask in masks.items()}
    rows_of = _by_parameter(logged.layers or (), model)
    layers = {name: [row["params"] for row in rows_of.get(name, ())] or [n] for name, n in sizes.items()}
    if trial.scope == "row":
        layers = {name: [mask[0].numel()] * len(mask) for name, mask in masks.items()}
    for name, count in asked(trial, layers).items():
        have = left[name] if name else sum(left.values())
        what = f"weights of {name} kept" if name else "weights kept"
        yield Check(f"{what}, of {trial.compression:g}x", have, count, have == count)
    n, total = sum(sizes.values()), sum(left.values())
    params = sum(parameter.numel() for parameter in model.parameters())
    yield _same("model/params", logged.metrics.get("model/params"), params)
    yield _same("model/params_kept", logged.metrics.get("model/params_kept"), params - n + total)
    yield _near("model/compression", logged.metrics.get("model/compression"), n / total if total else 1.0, EXACT)
    empty = sum(count == 0 for count in left.values())
    if "prune/empty_layers" in logged.metrics:
        yield _same("prune/empty_layers", logged.metrics["prune/empty_layers"], empty)
    for name, rows in rows_of.items():
        size = dict(model.named_parameters())[name].numel()
        yield _same(f"{name} params", sum(row["params"] for row in rows), size, "layers.json")
        yield _same(f"{name} kept", sum(row["kept"] for row in rows), left.get(name, size), "layers.json")
    for name in masks if logged.layers is not None else ():
        if name not in rows_of:
            yield Check(f"{name} kept (layers.json)", None, left[name], False)
    densities = logged.histories.get("profile/density", {})
    for step, row in enumerate(logged.layers or ()):
        if not row["params"]:  # matrix products without weights
            continue
        density = row["kept"] / row["params"]
        yield _near(f"{row['layer']} density", row["density"], density, EXACT, where="layers.json")
        if densities:
            yield _near(f"profile/density of {row['layer']}", densities.get(step), density, EXACT)


def updated(logged: Logged, trial: Trial) -> Check:
    """Compare the tag of weights that the pruner changed with what the record says of them."""
    said = logged.tags.get("weights_updated", "false")
    return _same("weights_updated", said, str(updates_weights(trial)).lower())


def zeros(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Check:
    """Count pruned weights that are not zero."""
    wrong = sum(int((weights[name][~mask] != 0).sum()) for name, mask in masks.items())
    return Check("pruned weights that are not zero", 0, wrong, wrong == 0)


def of_macs(logged: Logged, counted: Macs, masks: Mapping[str, Tensor], model: nn.Module) -> Iterator[Check]:
    """Compare multiply-accumulates, in total and per layer; kept ones only where they can be assigned to weights."""
    if "model/macs" not in logged.metrics and any(tag.startswith("unmeasured.") for tag in logged.tags):
        return
    yield _near("model/macs", logged.metrics.get("model/macs"), counted.dense, EXACT)
    left = counted.kept(masks)
    if left is not None:
        yield _near("model/macs_kept", logged.metrics.get("model/macs_kept"), float(left), EXACT)
    for name, rows in _by_parameter(logged.layers or (), model).items():
        # A layer's MACs include its biases', which pruning leaves: the difference is that of the weights alone.
        gone = sum(row["macs"] - row["macs_kept"] for row in rows if row["macs_kept"] is not None)
        pruned = counted.pruned(name, masks[name]) if name in masks else Fraction(0)
        if pruned is not None:
            yield _near(f"{name} MACs pruned", gone, float(pruned), EXACT, 1e-3, "layers.json")
    points = logged.histories.get("profile/macs_kept", {})
    for step, row in enumerate(logged.layers or ()):
        if points and row["macs_kept"] is not None:
            yield _near(f"profile/macs_kept of {row['layer']}", points.get(step), row["macs_kept"], EXACT)


def collapse(logged: Logged, reached: bool) -> Check:
    """Compare the tag `collapsed`."""
    return _same("collapsed", logged.tags.get("collapsed"), str(not reached).lower())


def _by_parameter(layers: Sequence[Mapping[str, Any]], model: nn.Module) -> dict[str, list[Mapping[str, Any]]]:
    """Group the rows of layers.json by parameter: several layers may be parts of one (`in_proj_weight`)."""
    names = sorted((name for name, _ in model.named_parameters()), key=len, reverse=True)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in layers:
        name = next((name for name in names if row["layer"].startswith(name)), None)
        if name is not None:
            found.setdefault(name, []).append(row)
    return found


def _hits(name: str, logged: float | None, hits: Hits, images: int) -> Check:
    images_right = math.nan if logged is None else logged * images
    whole = abs(images_right - round(images_right)) < 1e-3 if logged is not None else False
    agrees = whole and hits.fewest <= round(images_right) <= hits.most
    return Check(name, logged, hits.count / images, agrees)


def _same(name: str, logged: Any, found: Any, where: str = "") -> Check:
    return Check(f"{name} ({where})" if where else name, logged, found, logged == found)


def _near(
    name: str, logged: float | None, found: float, relative: float, absolute: float = 0.0, where: str = ""
) -> Check:
    agrees = logged is not None and math.isclose(logged, found, rel_tol=relative, abs_tol=absolute)
    return Check(f"{name} ({where})" if where else name, logged, found, agrees)


def _text(value: float | str) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
