"""What training does to the layers' squared weights, in words."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.comparing.measured import Measured
from orchestrator.findings.finding import Finding
from trainables.inverse import inverse

Layers = list[tuple[float, float]]  # a layer's kept weights and their mean square


def sentences(found: list[Measured]) -> list[str]:
    """Of the first seed: where the slope begins and ends in each level."""
    said = []
    for level, epochs in by_epoch(found[0]).items():
        (start, _), (end, correlation) = fit(epochs[0]), fit(epochs[-1])
        what = "training the dense network" if level == 0 else f"level {level}"
        said.append(
            f"Over {what}, {len(epochs) - 1} epochs, the power of the inverse size along which the layers' mean "
            f"squared weight goes changes from {start:.2f} to {end:.2f} (correlation {correlation:.2f}); "
            "1 would be one total for all layers."
        )
    return said


def rows(found: list[Measured]) -> list[list[str]]:
    return [
        [one.pruner, str(one.row.cell.seed), str(level), str(epoch), *(f"{value:.4f}" for value in fit(layers))]
        for one in found
        for level, epochs in by_epoch(one).items()
        for epoch, layers in enumerate(epochs)
    ]


def by_epoch(one: Measured) -> dict[int, list[Layers]]:
    """Level -> the layers before its first epoch and after each."""
    found: dict[int, list[Layers]] = {}
    for level, epoch, weights, square in _entries(one):
        epochs = found.setdefault(level, [])
        if epoch == len(epochs):
            epochs.append([])
        epochs[epoch].append((weights, square))
    return found


def _entries(one: Measured) -> Iterator[tuple[int, int, float, float]]:
    columns = one.columns
    return zip(columns["level"], columns["epoch"], columns["weights"], columns["mean_square"], strict=True)


def fit(layers: Layers) -> tuple[float, float]:
    """Slope and correlation of logarithms; NaN where they mean nothing."""
    known = [(size, square) for size, square in layers if size]
    found = inverse([size for size, _ in known], [square for _, square in known])
    nan = float("nan")
    return found.get("conservation/slope", nan), found.get("conservation/correlation", nan)


IMP_CONSERVATION = Finding(
    title="Mean squared weight of layers against their inverse size, both logarithmic",
    heads=("pruner", "seed", "level", "epoch", "slope", "correlation"),
    rows=rows,
    sentences=sentences,
)
