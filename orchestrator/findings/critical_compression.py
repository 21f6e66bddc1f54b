"""Layer collapse in words: how far each pruner goes, and which layer it empties first."""

from __future__ import annotations

from math import log10

from orchestrator.comparing.measured import Measured, by_pruner
from orchestrator.findings.finding import Finding, layer_name, metric, spread

CRITICAL, MAXIMUM = "critical/compression", "critical/maximum"


def sentences(found: list[Measured]) -> list[str]:
    """The pruners from the one that goes furthest on."""
    pruners = by_pruner(found)
    reach = {pruner: exponents(some, CRITICAL) for pruner, some in pruners.items()}
    order = sorted(reach, key=lambda pruner: -sum(reach[pruner]) / len(reach[pruner]))
    most = exponents(found, MAXIMUM)[0]
    reached = ", ".join(f"10^{spread(reach[pruner])} for {pruner}" for pruner in order)
    said = [
        f"The largest compression before a layer is empty is {reached}; "
        f"no pruner can go beyond 10^{most:.2f}, one weight a layer."
    ]
    beyond = {p: intact(some) for p, some in pruners.items() if spread(intact(some)) != spread(reach[p])}
    if beyond:
        later = ", ".join(f"10^{spread(values)} for {pruner}" for pruner, values in beyond.items())
        said.append(f"A pruner may lose a layer at one compression and none at a higher one: all live at {later}.")
    first = {pruner: layers for pruner in order if (layers := emptied(pruners[pruner][0]))}
    if first:
        said.append(f"First to be empty: {', '.join(f'{layers} ({pruner})' for pruner, layers in first.items())}.")
    return said


def rows(found: list[Measured]) -> list[list[str]]:
    return [
        [
            pruner,
            spread(exponents(some, CRITICAL)),
            f"{10 ** (sum(exponents(some, CRITICAL)) / len(some)):.4g}",
            spread(intact(some)),
            f"{exponents(some, MAXIMUM)[0]:.2f}",
            emptied(some[0]) or "none",
            str(len(some)),
        ]
        for pruner, some in by_pruner(found).items()
    ]


def exponents(found: list[Measured], name: str) -> list[float]:
    """Decimal logarithms: compressions are steps of 10^0.25."""
    return [log10(value) for value in metric(found, name)]


def intact(found: list[Measured]) -> list[float]:
    """The largest compression at which no layer is empty, whatever happened below: as the authors count."""
    tables = [zip(one.columns["compression"], one.columns["kept"], strict=True) for one in found]
    kept: list[dict[float, int]] = [{} for _ in found]
    for table, least in zip(tables, kept, strict=True):
        for compression, count in table:
            least[compression] = min(count, least.get(compression, count))
    return [log10(max(compression for compression, count in least.items() if count)) for least in kept]


def emptied(one: Measured) -> str:
    """The layers that are empty at the first compression at which any is; "" if none ever is."""
    table = zip(one.columns["compression"], one.columns["layer"], one.columns["kept"], strict=True)
    empty = [(compression, layer) for compression, layer, kept in table if kept == 0]
    places = {layer: place for place, layer in enumerate(dict.fromkeys(one.columns["layer"]), 1)}
    return ", ".join(layer_name(layer, places[layer]) for compression, layer in empty if compression == empty[0][0])


CRITICAL_COMPRESSION = Finding(
    title="Critical compression: the largest before a layer is empty",
    heads=(
        "pruner",
        "critical, 10^",
        "critical compression",
        "last intact, 10^",
        "possible, 10^",
        "first empty layer",
        "seeds",
    ),
    rows=rows,
    sentences=sentences,
)
