"""Filter of a report's cells: the language of `--where`. The expression is parsed and never run as code."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.results.lines import facet_of
from orchestrator.results.results import Results, require_finished
from orchestrator.results.row import Row
from orchestrator.results.store import ReportError
from search_spaces import Trial
from search_spaces.density import density_of
from search_spaces.errors import nearest
from search_spaces.labels import MARK
from trainables.metrics import METRICS

Test = Callable[[Mapping[str, Any]], bool]
TOKEN = re.compile(r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign><=|>=|==|!=|[=<>(),])|(?P<word>[^\s<>=!(),"']+))""")
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NAMES = ("dataset", "architecture", "pruner")
EXAMPLE = 'write it like "pruner in (snip, synflow) and compression <= 20"'


def where(results: Results, expression: str) -> Results:
    """Return the results with only the cells for which the expression holds.

    The language has comparisons of a cell's field with `=`, `!=`, `<`, `<=`, `>`, `>=`, `in (…)` and `not in (…)`,
    joined with `and`, `or`, `not` and parentheses. `pruner = snip` also matches `snip scope=layer`; `20x` is 20.

    Raises:
        ReportError: in one sentence, if the expression cannot be parsed, or no finished cell is left.
    """
    every = [*results.rows, *results.tried]
    fields = [_fields(row, results.trials.get(row.cell.fingerprint)) for row in every]
    test = _Parser(expression, fields).parse()
    held = list(map(test, fields))
    kept = [row for row, holds in zip(every, held, strict=True) if holds]
    if not kept:
        raise ReportError(f"--where: no cell of '{results.experiment}' matches {expression}")
    require_finished(f"{results.experiment}' where '{expression}", kept)
    fingerprints = {row.cell.fingerprint for row in kept}
    trials = {key: trial for key, trial in results.trials.items() if key in fingerprints}
    rows = tuple(kept[: sum(held[: len(results.rows)])])
    return replace(results, rows=rows, tried=tuple(kept[len(rows) :]), trials=trials, selection=expression)


def _fields(row: Row, trial: Trial | None) -> dict[str, Any]:
    """Return all fields of a cell by name; the cell's own values replace its trial's, which are `dense` at 1x."""
    recipe = {} if trial is None else trial.model_dump(exclude={"code", "architecture_code"})
    cell = row.cell
    named = {"dataset": cell.dataset, "architecture": cell.architecture, "pruner": cell.pruner, "seed": cell.seed}
    numbers = {"compression": math.nan, "density": math.nan}  # unknown: no comparison holds
    if cell.compression:
        numbers = {"compression": cell.compression, "density": float(density_of(cell.compression))}
    # The metrics of a run that has not finished are not results.
    recipe |= row.metrics if row.status == "finished" else {}
    return recipe | cell.settings | dict(facet_of(row).settings) | named | numbers | {"status": row.status}


@dataclass
class _Parser:
    """Recursive-descent parser of an expression: or, and, not, comparison."""

    text: str
    cells: list[dict[str, Any]]  # to report a misspelt field or name: no cell has it

    def __post_init__(self) -> None:
        self.names = sorted({name for cell in self.cells for name in cell})
        self.tokens: list[tuple[str, str]] = []
        end = 0
        while end < len(self.text.rstrip()):
            found = TOKEN.match(self.text, end)
            if found is None:
                raise ReportError(f"--where: cannot read '{self.text[end:].strip()}'; {EXAMPLE}")
            self.tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
            end = found.end()

    def parse(self) -> Test:
        """Return a function that tests the fields of a cell."""
        test = self._any()
        if self.tokens:
            raise self._unexpected("the end, 'and' or 'or'")
        return test

    def _any(self) -> Test:
        tests = [self._all()]
        while self._take("or"):
            tests.append(self._all())
        return lambda cell: any(test(cell) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._take("and"):
            tests.append(self._one())
        return lambda cell: all(test(cell) for test in tests)

    def _one(self) -> Test:
        if self._take("not"):
            inner = self._one()
            return lambda cell: not inner(cell)
        if self._take("("):
            inner = self._any()
            self._need(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Test:
        if not self.tokens or self.tokens[0][0] != "word":
            raise self._unexpected("a field")
        name = self.tokens.pop(0)[1]
        if name not in self.names:
            near = nearest(name, self.names)
            fields = [known for known in self.names if known not in METRICS]
            hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(fields)}, and metrics like final/top1"
            raise ReportError(f"--where: no cell has a field '{name}'; {hint}")
        if self._take("not"):
            self._need("in")
            values = self._list(name)
            return lambda cell: not any(_equal(name, cell.get(name), value) for value in values)
        if self._take("in"):
            values = self._list(name)
            return lambda cell: any(_equal(name, cell.get(name), value) for value in values)
        if self._take("=") or self._take("=="):
            value = self._known(name, self._value())
            return lambda cell: _equal(name, cell.get(name), value)
        if self._take("!="):
            value = self._known(name, self._value())
            return lambda cell: not _equal(name, cell.get(name), value)
        for sign, compare in ORDER.items():
            if self._take(sign):
                limit = _number(value := self._value())
                if limit is None:
                    raise ReportError(f"--where: '{name} {sign} {value}' compares with a value that is not a number")
                return _ordered(name, compare, limit)
        raise self._unexpected(f"=, !=, <, <=, >, >= or in after '{name}'")

    def _list(self, name: str) -> list[str]:
        self._need("(")
        values = [self._known(name, self._value())]
        while self._take(","):
            values.append(self._known(name, self._value()))
        self._need(")")
        return values

    def _known(self, name: str, value: str) -> str:
        """Return `value`; raise if no cell has this dataset, architecture or pruner, so that typos are noticed."""
        if name in NAMES and not any(_equal(name, cell.get(name), value) for cell in self.cells):
            there = sorted({str(cell.get(name)) for cell in self.cells})
            near = nearest(value, there)
            hint = f"did you mean '{near}'?" if near else f"there are: {', '.join(there)}"
            raise ReportError(f"--where: no cell has the {name} '{value}'; {hint}")
        return value

    def _value(self) -> str:
        if not self.tokens or self.tokens[0][0] == "sign":
            raise self._unexpected("a value")
        kind, text = self.tokens.pop(0)
        return text[1:-1] if kind == "quoted" else text

    def _take(self, text: str) -> bool:
        taken = bool(self.tokens) and self.tokens[0][0] != "quoted" and self.tokens[0][1] == text
        if taken:
            self.tokens.pop(0)
        return taken

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(f"'{text}'")

    def _unexpected(self, wanted: str) -> ReportError:
        found = f"'{self.tokens[0][1]}'" if self.tokens else "the end"
        return ReportError(f"--where: expected {wanted}, found {found}; {EXAMPLE}")


def _ordered(name: str, compare: Callable[[float, float], bool], limit: float) -> Test:
    def test(cell: Mapping[str, Any]) -> bool:
        number = _number(cell.get(name))
        return number is not None and compare(number, limit)

    return test


def _equal(name: str, here: Any, value: str) -> bool:
    """Compare as numbers if both are, else as text; names match all versions, a pruner's name all its labels."""
    number, other = _number(here), _number(value)
    if number is not None and other is not None:
        return number == other
    text = "" if here is None else str(here)
    if name in NAMES and value.lower() == MARK.sub("", text).lower():
        return True
    return value.lower() == text.lower() or (name == "pruner" and value == text.partition(" ")[0])


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(str(value).removesuffix("x"))
    except ValueError:
        return None
