"""Small changes of a module, one at a time."""

from __future__ import annotations

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

GUARDS = {"strict", "frozen"}  # arguments that only stop what does not happen anyway
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
    """Line, what was changed into what (a number with what it stands in), and the whole module, per change."""
    tree = ast.parse(source)
    hints = [getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")]
    said = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]  # what it says is for people
    left = {id(node) for one in (*hints, *said) if isinstance(one, ast.AST) for node in ast.walk(one)}
    for owner in ast.walk(tree):
        for field, value in ast.iter_fields(owner):
            if field in ("annotation", "returns") or id(owner) in left:
                continue
            if isinstance(owner, ast.keyword) and owner.arg in GUARDS:
                continue
            nodes = value if isinstance(value, list) else [value]
            for number, node in enumerate(nodes):
                if not isinstance(node, ast.AST) or _is_message(node):
                    continue
                for changed in changes_of(node):
                    _put(owner, field, value, number, changed)
                    whole = ast.fix_missing_locations(copy.deepcopy(tree))
                    _put(owner, field, value, number, node)
                    place = "  in  " + ast.unparse(owner).partition("\n")[0] if isinstance(node, ast.Constant) else ""
                    words = f"{ast.unparse(node)}  ->  {ast.unparse(changed)}{place}"
                    yield getattr(node, "lineno", 0), words, whole


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
        if fullname != self.name:
            return None
        package = self.path.name == "__init__.py"
        spec = importlib.util.spec_from_loader(fullname, self, origin=str(self.path), is_package=package)
        if spec and package:
            spec.submodule_search_locations = [str(self.path.parent)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run what was changed."""
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)
