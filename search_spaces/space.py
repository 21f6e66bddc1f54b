"""Spaces and their validation: a scalar fixes a field, a list is an axis of the grid, a mapping is searched."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from search_spaces.density import compression_of, fraction_of
from search_spaces.errors import SpaceError, choose
from search_spaces.network import COMMON
from search_spaces.search import (
    EarlyStopping,
    Range,
    Search,
    UntilDecided,
    read_early_stopping,
    read_range,
    read_search,
    read_until_decided,
)
from search_spaces.trial import ORIGIN, TRAINING, Trial

# Fields of a trial that are no keys of a space: settings of a pruner, an architecture or a learning-rate schedule,
# which are written beside its name, and the digest of the data.
_INNER = {"options", "code", "lr_drops", "lr_factor", "data_digest"}
_INNER |= {"architecture_options", "architecture_code", *COMMON}
NAMED = ("pruner", "architecture")  # a value of these is a name, or a mapping with a name and settings
CHOICES = (*NAMED, "lr_schedule")  # a mapping here is a choice with settings, not a range
FIELDS = tuple(name for name in Trial.model_fields if name not in _INNER)
DENSITIES = ("density", "sparsity")  # other ways to write the compression
AMOUNTS = ("compression", *DENSITIES, "kappa")  # a space has at most one of these
MASKED = (*ORIGIN, *AMOUNTS, "levels", "rewind_epoch", "ablation")  # keys that a space with `mask` must not have
ROOM = ("workers_per_trial", "gpus_per_trial")  # resources: they change how fast a trial is, not its result
ABOUT = ("name", "description", "exclude", "search", "early_stopping", *ROOM)  # keys that are no fields of a trial
KEYS = (*ABOUT, *FIELDS, *DENSITIES)
RANGE = Range.model_fields.keys()
GRIDDED = ("dataset", "architecture", "pruner", "measure", "lr_schedule", "seed", "mask", *AMOUNTS)  # never ranges


@dataclass(frozen=True)
class Exclusion:
    """Cells to leave out of the grid: those that have one of the given values in each of the given fields."""

    values: Mapping[str, tuple[Any, ...]]

    def matches(self, point: Mapping[str, Any]) -> bool:
        """Return True if the cell at this point is left out."""
        return all(point[key] in values for key, values in self.values.items())


@dataclass(frozen=True)
class Space:
    """Validated space. `axes` holds the values of each field that it sets; a field with one value is fixed."""

    name: str
    axes: Mapping[str, tuple[Any, ...]]
    searched: Mapping[str, Range] = field(default_factory=dict)
    description: str = ""
    search: Search | None = None
    early_stopping: EarlyStopping | None = None
    exclude: tuple[Exclusion, ...] = ()
    until: UntilDecided | None = None  # the seeds of `axes` are then those that may come
    workers_per_trial: int | None = None  # None: the space does not set it
    gpus_per_trial: int | None = None
    written: Mapping[str, Any] = field(default_factory=dict, compare=False)  # as given, overrides included

    @property
    def varied(self) -> tuple[str, ...]:
        """Return the fields with more than one value: the axes of the grid."""
        return tuple(key for key, values in self.axes.items() if len(values) > 1)

    @property
    def size(self) -> int:
        """Return how many points the grid has. Its cells may be fewer, and its trials fewer still."""
        return math.prod(map(len, self.axes.values()))

    def ranges(self, point: Mapping[str, Any]) -> dict[str, Range]:
        """Return what is searched at a point of the grid: fields, and settings of its pruner and its architecture."""
        inner = {
            f"{key}.{setting}": value
            for key in NAMED
            for setting, value in point[key].items()
            if isinstance(value, Range)
        }
        return {**self.searched, **inner}


def validate(raw: Mapping[str, Any], default_name: str) -> Space:
    """Validate a mapping of fields and return it as a space.

    Raises:
        SpaceError: if a key or a value is not allowed.
    """
    for key in raw:
        choose("space", str(key), KEYS)
    _require_one_way(raw)
    name = raw.get("name", default_name)
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise SpaceError(f"name: {name!r} is not a name; write it as text")
    axes: dict[str, tuple[Any, ...]] = {"pruner": ({"name": "mask"},)} if "mask" in raw else {}
    searched: dict[str, Range] = {}
    until = _until(raw)
    for key in (key for key in raw if key not in ABOUT):
        value = range(until.most) if key == "seed" and until else _unfold(key, raw[key])
        if isinstance(value, dict) and "name" not in value and (key not in CHOICES or value.keys() & RANGE):
            searched[key] = _range(key, value)
            continue
        values = list(value) if isinstance(value, list | range) else [value]
        if not values:
            raise SpaceError(f"{key}: the list is empty; an axis needs at least one value")
        field_name = "compression" if key in DENSITIES else key
        axes[field_name] = tuple(_value(key, v) for v in values)
        _require_unique(key, axes[field_name], values)
    for required in ("dataset", "architecture", "pruner"):
        if required not in axes and required not in searched:
            raise SpaceError(f"{required}: missing; a space must name at least one")
    return Space(
        name=name,
        axes=axes,
        exclude=_exclusions(raw.get("exclude", []), axes, until),
        searched=searched,
        description=str(raw.get("description", "")),
        search=read_search(raw["search"]) if "search" in raw else None,
        early_stopping=read_early_stopping(raw["early_stopping"]) if "early_stopping" in raw else None,
        until=until,
        written={**raw, "name": name},
        **{key: _count(key, raw[key]) for key in ROOM if key in raw},
    )


def _exclusions(written: Any, axes: Mapping[str, tuple[Any, ...]], until: UntilDecided | None) -> tuple[Exclusion, ...]:
    """Return the exclusions that a space lists, with values as they are in its axes."""
    rules = written if isinstance(written, list) else [written]
    found = []
    for rule in rules:
        if not isinstance(rule, dict) or not rule:
            raise SpaceError(f"exclude: {rule!r} is not allowed; it must be a mapping such as "
                             "{architecture: conv, seed: [1, 2]}, or a list of these")  # fmt: skip
        if until and "seed" in rule:
            raise SpaceError("exclude: seed is not allowed with seed: {until: decided}, which chooses the seeds")
        found.append(Exclusion({_axis(key, axes): _excluded(key, value, axes) for key, value in rule.items()}))
    return tuple(found)


def _axis(key: str, axes: Mapping[str, Any]) -> str:
    return choose("exclude", "compression" if key in DENSITIES else key, axes)


def _excluded(key: str, value: Any, axes: Mapping[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the values of an axis that an exclusion names; a name alone stands for all choices of that name."""
    there = axes[_axis(key, axes)]
    unfolded = _unfold(key, value)
    wanted = list(unfolded) if isinstance(unfolded, list | range) else [unfolded]
    found = []
    for one in wanted:
        named = [choice for choice in there if key in NAMED and choice["name"] == one]
        same = named or [choice for choice in there if choice == _value(key, one)]
        if not same:
            raise SpaceError(f"exclude: {key}: {one} is no value of the space's {key}")
        found += same
    return tuple(found)


def _unfold(key: str, value: Any) -> Any:
    """Return the seeds that `0-4` or `0..4` stands for, the last one included; any other value as it is."""
    found = re.fullmatch(r"(\d+)\s*(?:-|\.\.)\s*(\d+)", value) if key == "seed" and isinstance(value, str) else None
    if found is None:
        return value
    first, last = map(int, found.groups())
    if first > last:
        raise SpaceError(f"seed: '{value}' is not allowed; the first seed must not be above the last one")
    return range(first, last + 1)


def _until(raw: Mapping[str, Any]) -> UntilDecided | None:
    """Return the settings of `seed: {until: decided}`; None if the seeds are fixed.

    Raises:
        SpaceError: if a setting is not allowed, or something else in the space cannot be combined with it.
    """
    seed = raw.get("seed")
    if not isinstance(seed, dict) or seed.keys() & RANGE:
        return None
    until = read_until_decided(seed)
    if "search" in raw:
        raise SpaceError("seed: until: decided is not allowed with search, which compares settings at one seed; "
                         "leave one of the two out")  # fmt: skip
    if "early_stopping" in raw:
        raise SpaceError("seed: until: decided is not allowed with early_stopping, which chooses among seeds; "
                         "leave one of the two out")  # fmt: skip
    measures = raw.get("measure", TRAINING)
    for measure in measures if isinstance(measures, list) else [measures]:
        if measure != TRAINING:
            raise SpaceError(f"seed: until: decided compares accuracies; measure {measure} has none")
    return until


def _require_unique(key: str, values: Sequence[Any], written: Sequence[Any]) -> None:
    """Raise SpaceError if a value of an axis is listed twice; there may be ten thousand seeds."""
    seen: set[Any] = set()
    for index, value in enumerate(values):
        settings = isinstance(value, dict)
        if value in (values[:index] if settings else seen):
            raise SpaceError(f"{key}: {written[index]} is listed twice")
        seen |= set() if settings else {value}


def _count(key: str, value: Any) -> int:
    least = 1 if key == "workers_per_trial" else 0
    if type(value) is not int or value < least:
        raise SpaceError(f"{key}: {value!r} is not allowed; it must be a whole number from {least}")
    return value


def _require_one_way(raw: Mapping[str, Any]) -> None:
    """Raise SpaceError if the amount of pruning is given twice, or `mask` beside fields that the mask determines."""
    ways = [key for key in AMOUNTS if key in raw]
    if len(ways) > 1:
        raise SpaceError(f"{ways[1]}: {ways[0]} is given too; write only one of {', '.join(AMOUNTS)}")
    for key in MASKED if "mask" in raw else ():
        if key in raw:
            raise SpaceError(f"{key}: mask is given too, and brings its own; leave one of the two out")


def _value(key: str, value: Any) -> Any:
    """Return a value of an axis, validated: of the field's own type, or `{name, …}` where a choice has settings."""
    if key in NAMED:
        settings = dict(value) if isinstance(value, dict) else {"name": value}
        if not isinstance(settings.get("name"), str):
            raise SpaceError(f"{key}: {value!r} is not a name or a mapping with a name")
        return {
            k: read_range(f"{key} {settings['name']}: {k}", v) if isinstance(v, dict) else v
            for k, v in settings.items()
        }
    if key == "lr_schedule":
        settings = dict(value) if isinstance(value, dict) else {"name": value}
        for inner in settings:
            choose("lr_schedule", str(inner), ("name", "drops", "factor"))
        names = {"name": "lr_schedule", "drops": "lr_drops", "factor": "lr_factor"}
        return {names[k]: check(names[k], v, shown=f"lr_schedule.{k}") for k, v in settings.items()}
    if isinstance(value, dict | list):
        raise SpaceError(f"{key}: {value!r} is not a single value")
    if key in DENSITIES:
        number = check("weight_decay", value, shown=key)  # allows any number from 0 on
        density = fraction_of(number) if key == "density" else 1 - fraction_of(number)
        if not 0 < density <= 1:
            allowed = "above 0 and at most 1" if key == "density" else "from 0 to below 1"
            hint = f"; {number:g} % is written {number / 100:g}" if 1 < number < 100 else ""
            raise SpaceError(f"{key}: {value} is not allowed; it must be {allowed}{hint}")
        return compression_of(density)  # 0.9 is 10x, not 10.000000000000002x
    return check(key, value)


def check(key: str, value: Any, shown: str | None = None) -> Any:
    """Validate one value of a trial's field.

    Raises:
        SpaceError: with the field, the value and what is allowed.
    """
    info = Trial.model_fields[key]
    if isinstance(value, bool) and info.annotation is not bool:  # YAML's yes is True, which Python accepts as 1
        raise SpaceError(f"{shown or key}: {value!r} is not allowed; it must be a number or a word")
    if key == "optimizer" and value == "momentum":  # the SynFlow program's name of SGD with momentum
        value = "sgd"
    try:
        return _adapter(key).validate_python(value)
    except ValidationError as error:
        reason = re.sub(r"^Input should be |, (unable to|got) .*", "", error.errors()[0]["msg"])
        written = "nothing" if value is None else repr(value)
        hint = ""
        if key == "compression" and isinstance(value, int | float) and 0 < value < 1:
            hint = f"; a density is written density: {value:g}, a sparsity sparsity: {value:g}"
        raise SpaceError(f"{shown or key}: {written} is not allowed; it must be {reason}{hint}") from None


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    """Return the validator of a field, which takes a thousand times longer to make than to use."""
    info = Trial.model_fields[key]
    return TypeAdapter(Annotated[info.annotation, info])  # type: ignore[arg-type]


def _range(key: str, value: dict[str, Any]) -> Range:
    if key in GRIDDED:
        raise SpaceError(
            f"{key}: cannot be a range; write a list, and search: {{per: sweep}} to choose between its values"
        )
    found = read_range(key, value)
    checked = tuple(check(key, end) for end in found.ends)  # of the field's type: 16.0 is 16 images
    if found.choices is not None:
        return found.model_copy(update={"choices": checked})
    return found.model_copy(update={"low": checked[0], "high": checked[1]})
