"""The rows of the table that `make bench` prints: a ratio, its spread, what was predicted, what is to be held."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

HEADER = "| what | ratio | spread | predicted | to hold | |\n" + "| --- " * 6 + "|"
BOUND = "at 150 to 220 GFLOP/s on one core, near what the processor can"
WHY = {  # what explains a miss, where that is known, by how the row's name begins
    "resnet20, whole epochs": f"three quarters of a dense step are convolutions, {BOUND}",
    "resnet20, step at SynFlow 100x": "2 to 22 channels fill a vector register in part; the prototype was compiled",
    "vgg16-bn, step at SynFlow 100x": f"half of it is one convolution, of 64 to 56 channels on 32x32, {BOUND}",
    "grid, ": "up to 31.6x most pruners keep nearly all channels, and cost what a dense network does",
    "orchestration overhead": "what a sweep costs once (Ray, imports, the report) weighs on few trials",
}


def row(name: str, ratios: Sequence[float], predicted: float | None = None, held: float | None = None) -> str:
    """A row for a ratio that is better the larger it is (`held` is at least), with what explains a miss."""
    return _row(name, ratios, predicted, held, held is None or statistics.median(ratios) >= held, "at least")


def cost(name: str, ratios: Sequence[float], predicted: float | None = None, held: float | None = None) -> str:
    """A row for a ratio that is better the smaller it is (`held` is at most)."""
    return _row(name, ratios, predicted, held, held is None or statistics.median(ratios) <= held, "at most")


def _row(
    name: str, ratios: Sequence[float], predicted: float | None, held: float | None, good: bool, bound: str
) -> str:
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)}"
    asked = "" if held is None else f"{bound} {held:g}: {'held' if good else 'missed'}"
    why = "" if good else next((line for start, line in WHY.items() if name.startswith(start)), "not explained")
    foreseen = "" if predicted is None else f"{predicted:g}"
    return f"| {name} | {statistics.median(ratios):.2f} | {spread} | {foreseen} | {asked} | {why} |"
