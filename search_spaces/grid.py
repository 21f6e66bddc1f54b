"""The grid of a space: its points, and the cell and the trial at each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path, PurePath
from typing import Any

from search_spaces.catalog import Catalog, is_custom
from search_spaces.errors import choose
from search_spaces.labels import marked, marks, short
from search_spaces.network import Network, read
from search_spaces.phases import compresses
from search_spaces.point import SHARED, trial_at
from search_spaces.search import Range
from search_spaces.space import NAMED, Space, check
from search_spaces.trial import TOLD, TRAINING, Cell, Role, Trial, data_label, version

Point = Mapping[str, Any]  # a value for each field that the space sets; a choice with settings is {name, …}


class Grid:
    """A space read against a catalog.

    What is searched goes by the name of its field, or as `pruner.iterations`: a setting of a choice.
    """

    def __init__(self, space: Space, catalog: Catalog) -> None:
        """Look up every name.

        Raises:
            SpaceError: if a name is not in the catalog or a pruner does not have an option.
        """
        self.space, self.catalog = space, catalog
        _check_names(space, catalog)
        self._pruners = _labels(space.axes["pruner"])
        self._architectures = _network_labels(
            [read(_without_ranges(entry), catalog.architecture(entry["name"])) for entry in space.axes["architecture"]]
        )
        self._masks = _mask_labels({text: catalog.mask(text).fields for text in space.axes.get("mask", ())})
        self._datasets = _data_labels(space.axes["dataset"])

    def points(self) -> Iterator[Point]:
        """All combinations of the axes, in the order of the space. What is searched is still a range there."""
        for values in product(*self.space.axes.values()):
            yield dict(zip(self.space.axes, values, strict=True))

    def at(
        self, point: Point, searched: Mapping[str, Any] | None = None, role: Role = "grid", study: str = ""
    ) -> tuple[Cell, Trial]:
        """The cell and the trial at `point`, with values for what is `searched` there.

        Raises:
            SpaceError: if settings contradict each other.
        """
        searched = dict(searched or {})
        settled = settle(point, searched)
        network = read(settled["architecture"], self.catalog.architecture(settled["architecture"]["name"]))
        trial = trial_at(settled, network, self.catalog)
        settings = {key: settled[key] for key in self.space.varied if key not in TOLD}
        settings = {key: self.label(key, value) for key, value in settings.items()}
        made_by = "mask" if "mask" in point else "pruner"
        cell = Cell(
            dataset=self._datasets[trial.dataset],
            architecture=str(self.label("architecture", point["architecture"])),  # whatever is searched in it
            pruner=str(self.label(made_by, point[made_by])),
            compression=0 if trial.kappa or not compresses(trial, self.catalog) else trial.compression,
            kappa=trial.kappa,
            seed=trial.seed,
            settings=settings,
            searched=searched,
            role=role,
            study=study,
            fingerprint=trial.fingerprint,
        )
        return cell, trial

    def label(self, key: str, value: Any) -> str | int | float:
        """A value of an axis as people know it."""
        if key == "mask":
            return self._masks[value]
        if key == "pruner":
            return self._pruners[self.space.axes["pruner"].index(value)]
        if key == "architecture":
            return self._architectures[self.space.axes["architecture"].index(value)]
        if key == "lr_schedule":
            return " ".join(map(str, value.values()))
        known: str | int | float = self._datasets[value] if key == "dataset" else value
        return short(known) if isinstance(known, str) and key != "dataset" else known

    def ranges(self, point: Point) -> dict[str, Range]:
        """What is searched at `point`: fields, and settings of the choices made there. Only what makes a difference.

        A dense trial has no pruner whose settings could matter, nor has SynFlow a number of images.

        Raises:
            SpaceError: if an end of a range is not allowed.
        """
        ranges = self.space.ranges(point)
        first = {key: found.ends[0] for key, found in ranges.items()}
        _, trial = self.at(point, first)
        return {
            key: found
            for key, found in ranges.items()
            if any(self.at(point, first | {key: end})[1].fingerprint != trial.fingerprint for end in found.ends[1:])
        }


def settle(point: Point, searched: Mapping[str, Any]) -> Point:
    """`point` with values for what is searched there: of a field, or `pruner.iterations` of a choice's setting.

    A range without a value is left to its default: it makes no difference.
    """
    settled = {**point, **{key: value for key, value in searched.items() if "." not in key}}
    for key in NAMED:
        own = {k.partition(".")[2]: value for k, value in searched.items() if k.startswith(f"{key}.")}
        settled[key] = _without_ranges(point[key]) | own
    return settled


def _without_ranges(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if not isinstance(value, Range)}


def _check_names(space: Space, catalog: Catalog) -> None:
    for name in space.axes["dataset"]:
        catalog.dataset(name)
    allowed = {
        "granularity": catalog.granularities,
        "scope": catalog.scopes,
        "schedule": catalog.schedules,
        "mode": catalog.modes,
        "measure": (TRAINING, *catalog.measures),
    }
    for key, names in allowed.items():
        for value in (*space.axes.get(key, ()), *(space.searched[key].ends if key in space.searched else ())):
            choose(key, value, names)
    for entry in space.axes["pruner"] if "mask" not in space.axes else ():
        name = entry["name"]
        own = catalog.pruner(name).options
        for key, value in entry.items():
            choose(f"pruner {name}", key, ("name", "kappa", *SHARED, *own))
            for one in value.ends if isinstance(value, Range) else (value,):
                if key in ("kappa", *SHARED):
                    check(key, one, shown=f"pruner {name}: {key}")
                if key in allowed:
                    choose(f"pruner {name}: {key}", one, allowed[key])


def _labels(entries: tuple[Mapping[str, Any], ...]) -> list[str]:
    """`synflow` where that is unmistakable; where it stands in the space twice `synflow iterations=1`, what differs."""
    versions = [_version(entry["name"]) for entry in entries]
    mark = marks(versions)
    labels = []
    for entry, own in zip(entries, versions, strict=True):
        alike = [other for other in entries if other["name"] == entry["name"]]
        shown = {
            key: "searched" if isinstance(value, Range) else value
            for key, value in entry.items()
            # Not kappa: as compressions do, several of one pruner make one line.
            if key != "kappa" and any(other.get(key) != value for other in alike)
        }
        labels.append(" ".join([own[0] + mark[own], *(f"{key}={short(value)}" for key, value in shown.items())]))
    return labels


def _version(name: str) -> tuple[str, str]:
    """A name without folders, and which version of its file is meant; "" of what is no user's own."""
    if not is_custom(name):
        return name, ""
    path, _, wanted = name.rpartition(":")
    return f"{Path(path).name}:{wanted}", version(Path(path).expanduser().read_text(encoding="utf-8"))


def _network_labels(networks: Sequence[Network]) -> list[str]:
    """`resnet20 width=32`; `my_file.py:build (3f2a91)` where another version of that file stands beside it."""
    versions = [(network.name, version(network.code)) for network in networks]
    mark = marks(versions)
    return [marked(network.label, network.name, mark[own]) for network, own in zip(networks, versions, strict=True)]


def _mask_labels(masks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The pruner that made them; with the beginning of their digest where it made several of one compression."""
    alike = Counter((fields["pruner"], fields["compression"]) for fields in masks.values())
    return {
        text: f"{fields['pruner']} mask={fields['mask'][:8]}"
        if alike[fields["pruner"], fields["compression"]] > 1
        else fields["pruner"]
        for text, fields in masks.items()
    }


def _data_labels(names: tuple[str, ...]) -> dict[str, str]:
    """A folder by its own name, or by as many folders above it as tell it from the others."""
    labels = {name: data_label(name) for name in names}
    for parts in range(2, 1 + max(len(PurePath(name).parts) for name in names)):
        count = Counter(labels.values())
        labels = {name: label if count[label] == 1 else data_label(name, parts) for name, label in labels.items()}
    return labels


def expand(space: Space, catalog: Catalog) -> tuple[tuple[Cell, ...], tuple[Trial, ...]]:
    """All cells of the grid in the order of the space, and the unique trials behind them.

    Where something is searched there is no one trial: those points belong to the `studies` of the space.

    Raises:
        SpaceError: if a name is not in the catalog or a pruner does not have an option.
    """
    grid = Grid(space, catalog)
    cells: dict[str, Cell] = {}
    trials: dict[str, Trial] = {}
    for point in grid.points():
        if space.search is not None and (space.search.per == "sweep" or grid.ranges(point)):
            continue
        cell, trial = grid.at(point)
        trials.setdefault(trial.fingerprint, trial)
        cells.setdefault(cell.model_dump_json(), cell)  # a pruner with its own kappa has one, not one per compression
    return tuple(cells.values()), tuple(trials.values())
