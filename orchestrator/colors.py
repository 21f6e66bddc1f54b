"""One look per pruner, the same in every figure, in the MLflow charts and in next year's paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

GREY = "#8a8a8a"  # references: the dense baseline, chance, a uniform density


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash. No two known pruners share a marker, so a figure survives a grey printer."""

    color: str
    marker: str | tuple[int, int, int]
    dash: str = "-"

    @property
    def line(self) -> dict[str, Any]:
        """As matplotlib's arguments."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.dash}


# Okabe and Ito's colours for the pruners compared most often, Tol's muted set for the others; both were
# chosen to stay apart for colour-blind readers. Relatives get neighbouring hues (snip, iter-snip, force).
KNOWN = {
    "dense": Look(GREY, "_"),
    "random": Look("#6b6b6b", "v"),
    "magnitude": Look("#0072b2", "s"),
    "snip": Look("#e69f00", "o"),
    "grasp": Look("#009e73", "^"),
    "synflow": Look("#d55e00", "D"),
    "iter-snip": Look("#a6761d", "p"),
    "force": Look("#cc6677", "h"),
    "ntk-sap": Look("#56b4e9", ">"),
    "prospr": Look("#882255", "P"),
    "phew": Look("#44aa99", "<"),
    "px": Look("#332288", "X"),
    "lamp": Look("#117733", "d"),
    "gradual": Look("#cc79a7", "8"),
    "imp": Look("#000000", "*"),
    "set": Look("#aa4499", "H"),
    "rigl": Look("#999933", (4, 1, 45)),
}
OTHERS = ("#7f3c8d", "#e73f74", "#5d4037", "#80ba5a", "#4b4b8f", "#00acc1", "#827717")
MARKERS = ("s", "o", "^", "D", "v", "P")
VARIANTS = ("--", "-.", ":")


def look(label: str) -> Look:
    """How a pruner is drawn: `snip` in its own colour, `snip scope=layer` in the same colour and dashed.

    The choice depends on nothing but the label: a pruner added to a sweep never repaints the others.
    """
    name, _, settings = label.partition(" ")
    number = crc32(label.encode())  # not hash(), which differs from process to process
    base = KNOWN.get(name) or Look(OTHERS[crc32(name.encode()) % len(OTHERS)], MARKERS[number % len(MARKERS)])
    return Look(base.color, base.marker, VARIANTS[number % len(VARIANTS)]) if settings else base
