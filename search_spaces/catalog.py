"""What the house offers, as the rooms that offer it say: the names a space may use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class PrunerTraits(Protocol):
    """What a space must know of a pruner: its defaults, and which settings it pays attention to."""

    @property
    def iterations(self) -> int: ...
    @property
    def schedule(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def iterates(self) -> bool:
        """Whether its scores depend on what is pruned already; if not, iterations and schedule do nothing."""
        ...

    @property
    def uses_mode(self) -> bool:
        """Whether its scores depend on the mode of batch norm."""
        ...

    @property
    def needs_data(self) -> bool:
        """Whether it scores on labelled batches."""
        ...


@dataclass(frozen=True)
class Catalog:
    """Every name that a space may use. Built by the orchestrator from the registries of the other rooms."""

    pruners: Mapping[str, PrunerTraits]
    architectures: Collection[str]
    datasets: Collection[str]
    granularities: Collection[str]
    scopes: Collection[str]
    schedules: Collection[str]
    modes: Collection[str]
