"""Colours, markers and dashes of pruners, the same in every figure and in the MLflow charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeVar

T = TypeVar("T")
Dash = str | tuple[int, tuple[int, ...]]

GREY = "#8a8a8a"  # references: the dense baseline, chance, a uniform density


@dataclass(frozen=True)
class Look:
    """Colour, marker and dash. No two known pruners share a marker, so figures stay readable in grey."""

    color: str
    marker: str | tuple[int, int, int]
    dash: Dash = "-"

    @property
    def line(self) -> dict[str, Any]:
        """Return the look as matplotlib's arguments."""
        return {"color": self.color, "marker": self.marker, "linestyle": self.dash}


# Okabe and Ito's colours for the pruners compared most often, Tol's muted set for the others. The first eight pruners,
# random to ntk-sap, differ by at least 10 (CIEDE2000) also where red, green or blue is not seen; a test simulates that.
KNOWN = {
    "dense": Look(GREY, "_"),
    "random": Look("#6b6b6b", "v"),
    "magnitude": Look("#0072b2", "s"),
    "snip": Look("#e69f00", "o"),
    "grasp": Look("#009e73", "^"),
    "synflow": Look("#d55e00", "D"),
    "iter-snip": Look("#603000", "p"),
    "force": Look("#a83048", "h"),
    "ntk-sap": Look("#56b4e9", ">"),
    "prospr": Look("#882255", "P"),
    "phew": Look("#44aa99", "<"),
    "px": Look("#332288", "X"),
    "lamp": Look("#117733", "d"),
    "gradual": Look("#cc79a7", "8"),
    "imp": Look("#000000", "*"),
    "set": Look("#aa4499", "H"),
    "rigl": Look("#999933", (4, 1, 45)),
    "smart-ratio": Look("#a0a0b8", (3, 1, 0)),
    "taylor": Look("#5e8c00", (6, 1, 0)),
    "wanda": Look("#7f3c8d", (8, 1, 0)),
    "obd": Look("#2f4b7c", (5, 0, 36)),
    "obs": Look("#00acc1", (5, 1, 36)),
    "sparsegpt": Look("#b8860b", (3, 1, 60)),
}
OTHERS = ("#7f3c8d", "#e73f74", "#5d4037", "#80ba5a", "#4b4b8f", "#00acc1", "#827717")
MARKERS = ("s", "o", "^", "D", "v", "P")
DASHES: tuple[Dash, ...] = ("--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
SHADES = (0.0, 0.3, 0.55, -0.35)  # blend towards white, or black if negative


def look(label: str) -> Look:
    """Return a pruner's look: `snip` has a colour, `snip scope=layer` a shade of it, a dash and another marker.

    The choice depends only on the label: a pruner added to a sweep never changes the look of the others.
    """
    name, _, settings = label.partition(" ")
    base = KNOWN.get(name) or Look(_of(OTHERS, name), _of(MARKERS, name))
    if not settings:
        return base
    return Look(_shade(base.color, _of(SHADES, "shade " + settings)), _of(MARKERS, settings), _of(DASHES, settings))


def _of(choices: Sequence[T], text: str) -> T:
    number = int.from_bytes(blake2b(text.encode(), digest_size=4).digest())  # hash() differs between processes
    return choices[number % len(choices)]


def _shade(color: str, step: float) -> str:
    end = 255 if step > 0 else 0
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part + (end - part) * abs(step)):02x}" for part in parts)
