"""How much of the pruning core the tests hold: each small change of its code must fail one of them.

    python -m benchmarks.mutants [--modules selection schedules] [--every 1]

Changes a comparison, a sign, an operation, a number by one, a `not`, an `and`, or a word such as min or floor, one at a
time, and runs the module's tests in a forked process until one fails. Prints the changes that all tests survive, and
the share that was caught. Every change takes some seconds; `--every 5` takes one in five. Those in `EQUIVALENT` change
nothing that can be seen, and say why.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parents[1]
SECONDS = 120  # a change that makes tests run for longer than this is caught
CORE: dict[str, tuple[str, ...]] = {  # module of `pruners` -> the tests that hold it, the quickest first
    "selection": ("test_selection", "test_pruner_contract"),
    "schedules": ("test_schedules", "test_pruning"),
    "scopes": ("test_scopes", "test_selection"),
    "granularity": ("test_granularity",),
    "masks": ("test_masks",),
    "gradients": ("test_snip", "test_grasp", "test_pruner_contract", "test_golden_scores"),
    "magnitude": ("test_magnitude", "test_golden_scores"),
    "snip": ("test_snip", "test_golden_scores"),
    "grasp": ("test_grasp", "test_golden_scores"),
    "synflow": ("test_linear_flow", "test_pruner_contract", "test_golden_scores"),
    "lamp": ("test_lamp", "test_pruner_contract"),
    "ntk_sap": ("test_ntk_sap", "test_pruner_contract"),
    "force": ("test_force", "test_golden_scores"),
    "pruning": ("test_pruning", "test_ablations", "test_kappa", "test_pruner_contract"),
}
EQUIVALENT = {  # (module, the change as it is printed without its line) -> why
    (
        "scopes",
        "count >= room[name]  ->  count > room[name]",
    ): "a layer just filled has no fraction to round up",
}

COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
REPLACED = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
WORDS = {
    "min": "max", "max": "min", "floor": "ceil", "ceil": "floor", "any": "all", "all": "any", "sum": "mean",
    "ones_like": "zeros_like", "zeros_like": "ones_like", "logical_and_": "logical_or_", "logical_or_": "logical_and_",
}  # fmt: skip


def changes_of(node: ast.AST) -> Iterator[ast.AST]:
    """The node, changed in each way that it can be."""
    changed = copy.deepcopy(node)
    match changed:
        case ast.Compare(ops=[one]) if type(one) in COMPARED:
            changed.ops = [COMPARED[type(one)]()]
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in REPLACED:
            changed.op = REPLACED[type(op)]()
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            changed = changed.operand
        case ast.BoolOp(op=op):
            changed.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.Constant(value=bool(value)):
            changed.value = not value
        case ast.Constant(value=int(value) | float(value)):
            changed.value = value + 1
        case ast.Attribute(attr=word) if word in WORDS:
            changed.attr = WORDS[word]
        case ast.Name(id=word) if word in WORDS:
            changed.id = WORDS[word]
        case _:
            return
    yield ast.copy_location(changed, node)


def mutants(source: str) -> Iterator[tuple[int, str, ast.Module]]:
    """Line, what was changed into what, and the whole module, for each change of `source`."""
    tree = ast.parse(source)
    for owner in ast.walk(tree):
        for field, value in ast.iter_fields(owner):
            if isinstance(owner, ast.Raise) or field in ("annotation", "returns"):
                continue
            nodes = value if isinstance(value, list) else [value]
            for number, node in enumerate(nodes):
                if not isinstance(node, ast.AST) or _is_message(node):
                    continue
                for changed in changes_of(node):
                    _put(owner, field, value, number, changed)
                    whole = ast.fix_missing_locations(copy.deepcopy(tree))
                    _put(owner, field, value, number, node)
                    yield getattr(node, "lineno", 0), f"{ast.unparse(node)}  ->  {ast.unparse(changed)}", whole


def _is_message(node: ast.AST) -> bool:
    """Whether the node raises an error: what it says is for people."""
    return isinstance(node, ast.Raise | ast.JoinedStr)


def _put(owner: ast.AST, field: str, value: object, number: int, node: ast.AST) -> None:
    if isinstance(value, list):
        value[number] = node
    else:
        setattr(owner, field, node)


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports `name` as it was changed."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        """`path` is the module's own file."""
        self.name, self.path, self.tree = name, path, tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The changed module, and nothing else."""
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path)) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run what was changed."""
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def caught(module: str, tree: ast.Module, tests: Sequence[str]) -> bool:
    """Whether a test fails with the changed module. In a forked process: torch is imported once for all."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        import pytest

        sys.meta_path.insert(0, Changed(f"pruners.{module}", HERE / "pruners" / f"{module}.py", tree))
        files = [str(HERE / "tests" / "pruners" / f"{test}.py") for test in tests]
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *files])))
    _, status = os.waitpid(child, 0)
    return status != 0


def main() -> int:
    """Print what survived, and how much was caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--modules", nargs="+", choices=CORE, default=list(CORE), metavar="MODULE")
    parser.add_argument("--every", type=int, default=1, help="one change in so many (default: 1)")
    args = parser.parse_args()
    import pytest  # noqa: F401 - imported once, before the forks
    import torchvision  # noqa: F401

    total = survived = 0
    for module in args.modules:
        source = (HERE / "pruners" / f"{module}.py").read_text(encoding="utf-8")
        if caught(module, ast.parse(source), CORE[module]):
            sys.exit(f"{module}: its tests fail without any change")
        found = [one for one in mutants(source) if (module, one[1]) not in EQUIVALENT][:: args.every]
        left = [(line, words) for line, words, tree in found if not caught(module, tree, CORE[module])]
        total, survived = total + len(found), survived + len(left)
        print(f"{module}: {len(found) - len(left)} of {len(found)} caught", flush=True)
        for line, words in left:
            print(f"  pruners/{module}.py:{line}: {words}", flush=True)
    print(f"{total - survived} of {total} changes were caught: {(total - survived) / total:.1%}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
