"""Grid of a space: its points, the cell and the trial at each of them, and the labels of their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path, PurePath
from typing import Any

from search_spaces.catalog import Catalog, is_custom
from search_spaces.errors import SpaceError, choose
from search_spaces.labels import marked, marks, short
from search_spaces.network import Network, read
from search_spaces.phases import compresses
from search_spaces.point import SHARED, trial_at
from search_spaces.search import Range
from search_spaces.space import NAMED, Space, check
from search_spaces.trial import TOLD, TRAINING, Cell, Role, Trial, data_label, version

Point = Mapping[str, Any]  # one value per field that the space sets; choices with settings are mappings {name, …}


class Grid:
    """Grid of a space whose names have been checked against a catalog.

    Searched values are keyed by field, or as `pruner.iterations` for a setting of a pruner or an architecture.
    """

    def __init__(self, space: Space, catalog: Catalog) -> None:
        """Check every name against the catalog.

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
        if next(self.points(), None) is None:
            raise SpaceError("exclude: no cell of the space is left")

    def points(self) -> Iterator[Point]:
        """Yield the combinations of the axes that are not excluded, in the order of the space.

        Searched settings are still ranges there.
        """
        for values in product(*self.space.axes.values()):
            point = dict(zip(self.space.axes, values, strict=True))
            if not any(rule.matches(point) for rule in self.space.exclude):
                yield point

    def at(
        self, point: Point, searched: Mapping[str, Any] | None = None, role: Role = "grid", study: str = ""
    ) -> tuple[Cell, Trial]:
        """Return the cell and the trial at `point`, with the values in `searched` for the searched settings.

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
            architecture=str(self.label("architecture", point["architecture"])),  # without searched values
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
        """Return the label that users see for a value of an axis."""
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
        """Return the ranges searched at `point`, of fields and of settings, that make a difference to the trial.

        Pruner settings make no difference to a dense trial, nor does the number of images to SynFlow.

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
    """Return `point` with values for what is searched there, keyed by field or as `pruner.iterations`.

    A setting whose range has no value in `searched` is left out, so that its default applies: it makes no difference.
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
    """Return a label per pruner: `synflow`, or `synflow iterations=1` with what differs if it is listed twice."""
    versions = [_version(entry["name"]) for entry in entries]
    mark = marks(versions)
    labels = []
    for entry, own in zip(entries, versions, strict=True):
        alike = [other for other in entries if other["name"] == entry["name"]]
        shown = {
            key: "searched" if isinstance(value, Range) else value
            for key, value in entry.items()
            # Not kappa: several kappas of one pruner make one line, as several compressions do.
            if key != "kappa" and any(other.get(key) != value for other in alike)
        }
        labels.append(" ".join([own[0] + mark[own], *(f"{key}={short(value)}" for key, value in shown.items())]))
    return labels


def _version(name: str) -> tuple[str, str]:
    """Return a name without folders, and the hash of its file's text; "" if the pruner is built in."""
    if not is_custom(name):
        return name, ""
    path, _, wanted = name.rpartition(":")
    return f"{Path(path).name}:{wanted}", version(Path(path).expanduser().read_text(encoding="utf-8"))


def _network_labels(networks: Sequence[Network]) -> list[str]:
    """Return labels: `resnet20 width=32`, or `my_file.py:build (3f2a91)` if the space has two versions of that file."""
    versions = [(network.name, version(network.code)) for network in networks]
    mark = marks(versions)
    return [marked(network.label, network.name, mark[own]) for network, own in zip(networks, versions, strict=True)]


def _mask_labels(masks: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a label per mask: its pruner, and the start of its digest if several share pruner and compression."""
    alike = Counter((fields["pruner"], fields["compression"]) for fields in masks.values())
    return {
        text: f"{fields['pruner']} mask={fields['mask'][:8]}"
        if alike[fields["pruner"], fields["compression"]] > 1
        else fields["pruner"]
        for text, fields in masks.items()
    }


def _data_labels(names: tuple[str, ...]) -> dict[str, str]:
    """Return a label per dataset: a folder's own name, with as many parent folders as make it unique."""
    labels = {name: data_label(name) for name in names}
    for parts in range(2, 1 + max(len(PurePath(name).parts) for name in names)):
        count = Counter(labels.values())
        labels = {name: label if count[label] == 1 else data_label(name, parts) for name, label in labels.items()}
    return labels


def expand(space: Space, catalog: Catalog) -> tuple[tuple[Cell, ...], tuple[Trial, ...]]:
    """Return all cells of the grid in the order of the space, and the unique trials behind them.

    Points at which something is searched are left out: they belong to the `studies` of the space.

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
        # A pruner with its own kappa has one cell, not one per compression.
        cells.setdefault(cell.model_dump_json(), cell)
    return tuple(cells.values()), tuple(trials.values())
