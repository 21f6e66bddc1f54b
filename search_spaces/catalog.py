"""Catalog of the names that a space may use, and protocols for what a space must know of each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.errors import SpaceError, choose


class PrunerSettings(Protocol):
    """Settings of a pruner with every default filled in."""

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
    """Properties of a pruner that a space needs to know."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the pruner's own options with their defaults."""
        ...

    @property
    def unrecorded(self) -> Mapping[str, Any]:
        """Return what an option missing from a record stands for, if not its default: the older behaviour."""
        ...

    @property
    def needs_data(self) -> bool:
        """Return True if the pruner scores on labelled batches."""
        ...

    @property
    def when(self) -> str:
        """Return when it prunes: "before" training, "early" in it, "after" it, or "during" it (its masks change)."""
        ...

    @property
    def update(self) -> Callable[..., Any] | None:
        """Return the function that changes the weights that the pruner keeps; None if it changes masks alone."""
        ...

    @property
    def levels(self) -> int:
        """Return how many times the pruner trains and prunes by default; 0 = it prunes weights as they are."""
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
        """Fill in the defaults, and set what the pruner ignores to one value, so that equal settings compare equal.

        Raises:
            ValueError: if the settings contradict each other.
        """
        ...


class ArchitectureTraits(Protocol):
    """Properties of an architecture that a space needs to know."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Return the architecture's own options with their defaults."""
        ...

    def pretrained(self, asked: str) -> str:
        """Return how a record names the pretrained weights `asked` of a space: a file by its content; "" stays "".

        Raises:
            ValueError: if there are no such weights.
        """
        ...

    def initialisation(self, asked: str) -> str:
        """Return how a record names the initialisation `asked` of a space: "" for the architecture's own.

        Raises:
            ValueError: if there is no initialisation of that name.
        """
        ...


class DatasetTraits(Protocol):
    """Properties of a dataset that a space needs to know."""

    @property
    def digest(self) -> str:
        """Return a hash of the images if the dataset's name does not identify them; else ""."""
        ...

    def augmentation(self, asked: str) -> str:
        """Return how a record names the augmentation `asked` of a space: "" for the dataset's own.

        Raises:
            ValueError: if there is no augmentation of that name.
        """
        ...


class MaskTraits(Protocol):
    """Properties of given masks that a space needs to know."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """Return the fields of a trial's record for the masks: `mask` (hash of content), `pruner` and `compression`."""
        ...


class MeasureTraits(Protocol):
    """Properties, for a space, of an experiment that a trial can run instead of training."""

    @property
    def ignores(self) -> Collection[str]:
        """Return the trial fields that do not change the result, beside those of training if it does not train."""
        ...

    @property
    def trains(self) -> bool:
        """Return True if the measure trains the network; if not, it looks at the network's initial weights."""
        ...


@dataclass(frozen=True)
class Catalog:
    """All names that a space may use, built by the orchestrator from the registries of the other packages."""

    pruners: Mapping[str, PrunerTraits]
    architecture: Callable[[str], ArchitectureTraits]  # raises ValueError with the nearest name
    dataset: Callable[[str], DatasetTraits]  # raises ValueError with the nearest name
    granularities: Collection[str]
    scopes: Collection[str]
    schedules: Collection[str]
    modes: Collection[str]
    mask: Callable[[str], MaskTraits]  # reads masks of an MLflow run or a file; raises ValueError if there are none
    custom: Callable[[str], PrunerTraits]  # loads a user-defined pruner: `my_file.py:MyScore`
    measures: Mapping[str, MeasureTraits]  # experiments that can replace training
    objectives: Collection[str]  # metrics that a search may optimise

    def pruner(self, name: str) -> PrunerTraits:
        """Return the pruner of that name, built in or from the user's own file.

        Raises:
            SpaceError: if there is none, with the nearest name, or if the file is wrong, with the reason.
        """
        if not is_custom(name):
            return self.pruners[choose("pruner", name, tuple(self.pruners))]
        try:
            return self.custom(name)
        except ValueError as error:
            raise SpaceError(f"pruner: {str(error).removeprefix('Pruner ')}") from None


def is_custom(name: str) -> bool:
    """Return True if `name` names a file and an object in it: `my_file.py:MyScore`."""
    return ".py:" in name
