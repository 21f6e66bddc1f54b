"""Search settings of a space: ranges of fields, budget and objective, early stopping, and seeds until decided."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from search_spaces.errors import SpaceError, choose

GROUP = ("dataset", "architecture", "compression")

M = TypeVar("M", bound=BaseModel)


class Range(BaseModel):
    """Values of a searched field: a range (`low`, `high`, optional `log` or `step`) or `choices`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: Annotated[int | float, Field(gt=0)] | None = None
    choices: tuple[Any, ...] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Range:
        if self.choices is not None:
            if not self.choices or any(x is not None for x in (self.low, self.high, self.step)) or self.log:
                raise ValueError("choices must be a list of at least one value, without low, high, step or log")
            return self
        if self.low is None or self.high is None:
            raise ValueError("a searched field needs low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be less than high {self.high:g}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0 and no step")
        return self

    @property
    def whole(self) -> bool:
        """Return True if the values between `low` and `high` are whole numbers: `low`, `high` and `step` all are."""
        return all(isinstance(x, int) for x in (self.low, self.high, self.step) if x is not None)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return the values to validate: all choices, or both ends; if these are allowed, those between are."""
        return self.choices if self.choices is not None else (self.low, self.high)

    @property
    def count(self) -> int | None:
        """Return how many values there are to choose from; None if they are without end."""
        if self.choices is not None:
            return len(self.choices)
        assert self.low is not None and self.high is not None  # a range without choices has bounds
        if self.step is None and not self.whole:
            return None
        step = Decimal(str(self.step or 1))  # in decimals, as they are written: 0.1 three times is 0.3
        return 1 + int((Decimal(str(self.high)) - Decimal(str(self.low))) // step)


class Search(BaseModel):
    """Settings of the search over the searched fields.

    `per: cell` gives each cell of the grid `trials` trials of its own, so that each pruner is compared at its best;
    `per: sweep` gives `trials` trials to all cells together, and chooses between the cells too. The best of each
    search is run again with `confirm_seeds` fresh seeds: the best of many noisy results is too optimistic.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: Annotated[int, Field(ge=1)]
    per: Literal["cell", "sweep"] = "cell"
    objective: tuple[str, ...] = ("validation/top1",)
    sampler: Literal["tpe", "gp", "cmaes", "nsga2", "random"] = "tpe"
    storage: str = ""  # an Optuna storage URL; "" = SQLite in the output folder
    confirm_seeds: Annotated[int, Field(ge=0)] = 0
    first: tuple[dict[str, Any], ...] = ()  # settings known to be good, tried before any other


class EarlyStopping(BaseModel):
    """Settings of early stopping, which ends trials that fall behind the others of their own `group`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["asha", "hyperband", "median"]
    metric: Literal["validation/top1", "validation/loss"] = "validation/top1"
    grace_epochs: Annotated[int, Field(ge=1)] = 1  # epochs that every trial gets
    reduction: Annotated[int, Field(ge=2)] = 3  # one in this many trials goes on at each rung
    group: tuple[str, ...] = GROUP

    @property
    def rule(self) -> str:
        """Return all settings in words: a trial that was stopped by this rule is not started again under it."""
        among = " and ".join(self.group) or "nothing"
        return f"{self.name} of {self.metric}, grace {self.grace_epochs}, reduction {self.reduction}, same {among}"

    def stopped(self, tag: str) -> bool:
        """Return True if `tag`, the record of a stopped trial ("epoch 12 by …"), names this rule."""
        return tag.endswith(f" by {self.rule}")


class UntilDecided(BaseModel):
    """Settings of `seed: {until: decided}`: further seeds only for cells whose comparison with the leader is open.

    All cells get `least` seeds. A comparison ends when a test decides it, when the two are shown to differ by less than
    `within`, or at `most` seeds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: Literal["decided"]
    least: Annotated[int, Field(ge=2)] = 2
    most: Annotated[int, Field(ge=2, le=1000)] = 10
    within: Annotated[float, Field(gt=0, lt=100)] = 0.5  # points of accuracy

    @model_validator(mode="after")
    def _in_order(self) -> UntilDecided:
        if self.most < self.least:
            raise ValueError(f"most {self.most} is not allowed; it must be at least least: {self.least}")
        return self

    @property
    def words(self) -> str:
        """Return the settings as one line for the user."""
        return f"{self.least} to {self.most} seeds until decided, or equal within {self.within:g} points"


def read_range(key: str, value: Mapping[str, Any]) -> Range:
    """Read the range that a space gives for the field `key`.

    Raises:
        SpaceError: with the field and what is wrong.
    """
    return _read(Range, key, value)


def read_search(value: Any) -> Search:
    """Read the `search` mapping of a space; a single objective needs no list.

    Raises:
        SpaceError: with the key and what is wrong.
    """
    search = _read(Search, "search", _listed(value, "objective"))
    if not search.objective:
        raise SpaceError("search: objective: the list is empty; name at least one metric")
    if len(set(search.objective)) < len(search.objective):
        raise SpaceError("search: objective: a metric is listed twice")
    if len(search.objective) > 1 and search.sampler in ("gp", "cmaes"):
        raise SpaceError(f"search: sampler: {search.sampler} has one objective; choose tpe, nsga2 or random")
    if len(search.objective) > 1 and search.confirm_seeds:
        raise SpaceError("search: confirm_seeds: several objectives have no single best; leave it out")
    return search


def read_early_stopping(value: Any) -> EarlyStopping:
    """Read the `early_stopping` of a space: a name, or a mapping with a name and settings.

    Raises:
        SpaceError: with the key and what is wrong.
    """
    return _read(
        EarlyStopping, "early_stopping", _listed({"name": value} if isinstance(value, str) else value, "group")
    )


def read_until_decided(value: Mapping[str, Any]) -> UntilDecided:
    """Read the mapping that a space gives for `seed`.

    Raises:
        SpaceError: with the key and what is wrong.
    """
    for key in ("least", "most", "within"):
        if isinstance(value.get(key), bool):  # YAML's yes is True, which Python accepts as 1
            raise SpaceError(f"seed: {key}: {value[key]!r} is not allowed; it must be a number")
    return _read(UntilDecided, "seed", value)


def _listed(value: Any, key: str) -> Any:
    if isinstance(value, dict) and isinstance(value.get(key), str):
        return value | {key: [value[key]]}
    return value


def _read(model: type[M], key: str, value: Any) -> M:
    if not isinstance(value, Mapping):
        raise SpaceError(f"{key}: {value!r} is not a mapping of {', '.join(model.model_fields)}")
    for inner in value:
        choose(key, str(inner), tuple(model.model_fields))
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors()[0]
        where = f"{key}: {found['loc'][0]}" if found["loc"] else key
        if found["type"] == "missing":
            raise SpaceError(f"{where}: missing; it must be given") from None
        reason = found["msg"].removeprefix("Value error, ")
        if reason.startswith("Input should be "):
            reason = re.sub(r"^Input should be |, (unable to|got) .*", "", reason)
            raise SpaceError(f"{where}: {found['input']!r} is not allowed; it must be {reason}") from None
        raise SpaceError(f"{where}: {reason}") from None
