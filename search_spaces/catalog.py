"""What the house offers, as the rooms that offer it say: the names a space may use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.errors import SpaceError, choose


class PrunerSettings(Protocol):
    """How a pruner runs, with nothing left to default."""

    @property
    def scope(self) -> str: ...
    @property
    def schedule(self) -> str: ...
    @property
    def iterations(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...
    @property
    def granularity(self) -> str: ...


class PrunerTraits(Protocol):
    """What a space must know of a pruner."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Its own options with their defaults."""
        ...

    @property
    def unrecorded(self) -> Mapping[str, Any]:
        """What records mean that do not say an option, where that is not its default: how it was before."""
        ...

    @property
    def needs_data(self) -> bool:
        """Whether it scores on labelled batches."""
        ...

    @property
    def when(self) -> str:
        """What it prunes: weights "before" training, "after" it, or "during" it (its masks change)."""
        ...

    @property
    def levels(self) -> int:
        """How many times it trains and prunes unless told otherwise; 0 = it prunes weights as they stand."""
        ...

    def settings(
        self,
        scope: str | None = None,
        schedule: str | None = None,
        iterations: int | None = None,
        mode: str | None = None,
        options: Mapping[str, Any] | None = None,
        granularity: str = "weight",
    ) -> PrunerSettings:
        """Its defaults filled in, and what it ignores set to one value, so that equal settings are equal.

        Raises:
            ValueError: if the settings contradict each other.
        """
        ...


class ArchitectureTraits(Protocol):
    """What a space must know of an architecture."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Its own options with their defaults."""
        ...

    def pretrained(self, asked: str) -> str:
        """What a record says for the weights that a space asks for: of a file its content. "" stays "".

        Raises:
            ValueError: if there are no such weights.
        """
        ...

    def initialisation(self, asked: str) -> str:
        """What a record says for the initialisation that a space asks for: "" for the architecture's own.

        Raises:
            ValueError: if there is none of that name.
        """
        ...


class DatasetTraits(Protocol):
    """What a space must know of a dataset."""

    @property
    def digest(self) -> str:
        """A hash of its images, where the name alone does not say which they are; else ""."""
        ...

    def augmentation(self, asked: str) -> str:
        """What a record says for the augmentation that a space asks for: "" for the dataset's own.

        Raises:
            ValueError: if there is none of that name.
        """
        ...


class MaskTraits(Protocol):
    """What a space must know of masks that are given."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """What the record of a trial says for them: `mask`, a hash of their content, `pruner` and `compression`."""
        ...


class MeasureTraits(Protocol):
    """What a space must know of something that a trial can measure instead of training."""

    @property
    def ignores(self) -> Collection[str]:
        """The fields of a trial that do not change what it finds, beside those of training if it does not train."""
        ...

    @property
    def trains(self) -> bool:
        """Whether it trains the network; if not, it looks at the weights that a network begins with."""
        ...


@dataclass(frozen=True)
class Catalog:
    """Every name that a space may use. Built by the orchestrator from the registries of the other rooms."""

    pruners: Mapping[str, PrunerTraits]
    architecture: Callable[[str], ArchitectureTraits]  # raise ValueError with the nearest name
    dataset: Callable[[str], DatasetTraits]  # the same
    granularities: Collection[str]
    scopes: Collection[str]
    schedules: Collection[str]
    modes: Collection[str]
    mask: Callable[[str], MaskTraits]  # of a run of MLflow or a file; raises ValueError if there are none
    custom: Callable[[str], PrunerTraits]  # loads a pruner of the user's own: `my_file.py:MyScore`
    measures: Mapping[str, MeasureTraits]  # what can be measured instead of training
    objectives: Collection[str]  # metrics that a search may go by

    def pruner(self, name: str) -> PrunerTraits:
        """The pruner of that name, of the house or of the user's own file.

        Raises:
            SpaceError: with the nearest name, or what is wrong with the file.
        """
        if not is_custom(name):
            return self.pruners[choose("pruner", name, tuple(self.pruners))]
        try:
            return self.custom(name)
        except ValueError as error:
            raise SpaceError(f"pruner: {str(error).removeprefix('Pruner ')}") from None


def is_custom(name: str) -> bool:
    """Whether a pruner is named by file and object: `my_file.py:MyScore`."""
    return ".py:" in name
