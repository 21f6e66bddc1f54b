"""How much of the pruning core the tests hold: each small change of its code must fail one of them.

    python -m benchmarks.mutants [--modules pruners.selection pruners.scopes] [--every 1]

Changes a comparison, a sign, an operation, a number by one, a `not`, an `and`, or a word such as min or floor, one at a
time, and runs, in a forked process until one fails, the tests that reach the changed line: the module's own first, then
the quickest, `TESTS_SECONDS` of them at most. Which they are is seen in one run without any change. Prints the changes
that all these tests survive, and how many were caught. `--every 5` takes one change in five. Those in `EQUIVALENT`
change nothing that can be seen, and say why.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parents[1]
TESTS_SECONDS = 6.0  # of CPU: the tests that a change has to pass
LONGEST = 1.5  # seconds of CPU: a test that takes longer is not asked
OURS = {"pruners", "search_spaces", "trainables", "orchestrator", "tests", "conftest", "nets", "__main__"}
CORE: dict[str, str] = {  # module -> the tests that hold it, in tests/<its folder> or another; its own first
    "pruners.selection": "test_selection test_pruner_contract",
    "pruners.schedules": "test_schedules test_pruning",
    "pruners.scopes": "test_scopes test_selection",
    "pruners.granularity": "test_granularity",
    "pruners.filters": "test_granularity test_kappa test_keep_dense test_pruner_contract",
    "pruners.masks": "test_masks",
    "pruners.weights": "test_weights test_keep_dense",
    "pruners.gradients": "test_snip test_grasp test_prospr test_pruner_contract test_golden_scores test_peer_bugs",
    "pruners.magnitude": "test_magnitude test_golden_scores test_pruner_contract test_pruner",
    "pruners.snip": "test_snip test_golden_scores test_pruner_contract",
    "pruners.grasp": "test_grasp test_golden_scores test_pruner_contract",
    "pruners.synflow": "test_synflow test_linear_flow test_pruner_contract test_golden_scores test_pruner",
    "pruners.linear_flow": "test_linear_flow test_px test_synflow",
    "pruners.lamp": "test_lamp test_pruner_contract",
    "pruners.ntk_sap": "test_ntk_sap test_pruner_contract test_pruner",
    "pruners.px": "test_px test_pruner_contract test_pruner",
    "pruners.prospr": "test_prospr test_pruner_contract test_pruner",
    "pruners.phew": "test_phew test_pruner_contract",
    "pruners.walks": "test_phew",
    "pruners.random": "test_random test_pruner test_pruner_contract",
    "pruners.dynamic": "test_pruner test_pruner_contract",
    "pruners.force": "test_force test_golden_scores test_pruner_contract test_pruner",
    "pruners.iter_snip": "test_force test_golden_scores test_pruner_contract test_pruner",
    "pruners.ablations": "test_ablations",
    "pruners.pruner": "test_pruner test_pruner_contract test_kappa test_granularity",
    "pruners.pruning": "test_pruning test_ablations test_kappa test_pruner_contract",
    "pruners.compatibility": "test_compatibility",
    "pruners.liveness": "test_liveness",
    "pruners.turns": "trainables/test_packed test_compaction",
    "pruners.channels.records": "test_compaction test_granularity test_phew",
    "pruners.channels.operations": "test_compaction test_granularity test_phew",
    "pruners.channels.following": "test_compaction test_granularity test_phew test_keep_dense",
    "pruners.compaction": "test_compaction trainables/test_compacted",
    "pruners.compaction.constant_model": "trainables/test_compacted test_compaction",
    "pruners.compaction.constants": "test_compaction trainables/test_compacted",
    "pruners.compaction.lasting": "trainables/test_compacted test_compaction",
    "pruners.compaction.slicing": "test_compaction trainables/test_compacted",
    "pruners.compaction.survival": "test_compaction trainables/test_compacted",
    "search_spaces.expand": "test_expand test_properties",
    "search_spaces.grid": "test_space test_expand test_reading test_properties test_kappa_spaces test_phases",
    "search_spaces.point": "test_expand test_space test_kappa_spaces test_measured_spaces test_phases",
    "search_spaces.trial": "test_trial test_expand test_stages test_kappa_spaces test_measured_spaces test_phases",
    "trainables.dynamics.dynamics": "test_dynamics",
    "trainables.dynamics.gradual": "test_dynamics",
    "trainables.dynamics.regrowth": "test_dynamics",
    "trainables.norms": "test_norms",
}
EQUIVALENT = {  # (module, the change as it is printed without its line) -> why
    (
        "pruners.scopes",
        "count >= room[name]  ->  count > room[name]",
    ): "a layer just filled has no fraction to round up",
    (
        "pruners.selection",
        "count > spare  ->  count >= spare",
    ): "the first so many of as many are all of them",
    ("pruners.filters", "0.0  ->  1.0"): "a default that the only caller gives",
    ("pruners.filters", "sizes > 0  ->  sizes >= 0"): "a number that is no group's weighs nothing, kept or not",
    (
        "trainables.dynamics.regrowth",
        "step < self.end  ->  step <= self.end",
    ): "there the cosine leaves nothing",
}

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
    """Line, what was changed into what, and the whole module, for each change of `source`."""
    tree = ast.parse(source)
    hints = [getattr(node, field, None) for node in ast.walk(tree) for field in ("annotation", "returns")]
    types = {id(node) for hint in hints if isinstance(hint, ast.AST) for node in ast.walk(hint)}
    for owner in ast.walk(tree):
        for field, value in ast.iter_fields(owner):
            if isinstance(owner, ast.Raise) or field in ("annotation", "returns") or id(owner) in types:
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


class Reach:
    """Notes, per test of a pytest run without any change, its CPU seconds and the lines that it reaches."""

    def __init__(self, files: Sequence[Path]) -> None:
        """`files` are those whose lines count."""
        import coverage

        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self.too_long: set[str] = set()
        self.files = files
        self.measured = coverage.Coverage(data_file=None, include=[str(file) for file in files])
        self.measured.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins: what runs now is reached by it."""
        self.measured.switch_context(nodeid)

        def stop(*_: Any) -> None:
            self.too_long.add(nodeid)
            raise TooLong

        signal.signal(signal.SIGPROF, stop)
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        self.began = time.process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """The test is over."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds[nodeid] = time.process_time() - self.began
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """It failed, perhaps; as any that is too long."""
        if report.failed and report.nodeid not in self.too_long:
            self.failed.append(report.nodeid)

    def left_out(self) -> set[str]:
        """Tests that say nothing about a change."""
        return {*self.failed, *self.too_long}

    def written(self) -> dict[str, Any]:
        """The seconds of the tests that can be asked, the contexts of each line, and what they imported."""
        self.measured.stop()
        data = self.measured.get_data()
        return {
            "seconds": {test: seconds for test, seconds in self.seconds.items() if test not in self.left_out()},
            "failed": self.failed,
            "lines": {str(file): data.contexts_by_lineno(str(file)) for file in self.files},
            "imported": [name for name in sys.modules if name.partition(".")[0] not in OURS],
        }


class TooLong(BaseException):
    """A test took longer than `LONGEST`."""


class Chosen:
    """Of the tests that pytest finds only these, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        """`tests` are node ids."""
        self.place = {test: number for number, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Leave the others out."""
        items[:] = sorted((one for one in items if one.nodeid in self.place), key=lambda one: self.place[one.nodeid])


def forked(work: Callable[[], int]) -> int:
    """The exit status of `work` in a forked process, silent: torch is imported once for all."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os._exit(work())
    return os.waitpid(child, 0)[1]


def pytest_run(files: Sequence[str], plugin: object) -> int:
    """Run the tests of `files` but those that start Ray, until one fails."""
    import pytest

    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    without = ("-p", "no:cacheprovider", "-p", "no:unraisableexception")  # the latter collects garbage five times
    options = ["-q", *without, "-m", "not slow and not cluster", f"--rootdir={HERE}"]
    if isinstance(plugin, Chosen):
        options.append("-x")
    return int(pytest.main([*options, *files], plugins=[plugin]))


def reached(modules: Sequence[str]) -> dict[str, Any]:
    """What `Reach` writes of all tests of these modules."""
    tests = sorted({test for module in modules for test in test_files(module)})
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "reach.json"

        def work() -> int:
            reach = Reach([path_of(module) for module in modules])
            code = pytest_run([str(HERE / test) for test in tests], reach)
            note.write_text(json.dumps(reach.written()), encoding="utf-8")
            return 0 if code in (0, 1) else code

        if forked(work):
            sys.exit("the tests do not run")
        found: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    for test in found["failed"]:
        print(f"  not asked, as it fails without any change: {test}", flush=True)
    for name in found["imported"]:  # once, before the forks
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.freeze()  # or each fork looks through all of it at its end
    return found


def path_of(module: str) -> Path:
    """The file of a module."""
    place = HERE.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def test_files(module: str) -> list[str]:
    """Its tests, from the root."""
    folder = module.partition(".")[0]
    return [f"tests/{name if '/' in name else f'{folder}/{name}'}.py" for name in CORE[module].split()]


def asked(module: str, line: int, found: dict[str, Any]) -> list[str]:
    """The tests that a change of this line has to pass: all of the module's if the line runs when it is imported."""
    files, seconds = test_files(module), found["seconds"]
    reaching = set(found["lines"][str(path_of(module))].get(str(line), [""]))
    own = [test for test in seconds if test.partition("::")[0] in files]
    tests = own if "" in reaching else [test for test in seconds if test in reaching]
    tests.sort(key=lambda test: (not test.startswith(files[0]), seconds[test]))
    total, chosen = 0.0, []
    for test in tests:
        if total + seconds[test] <= TESTS_SECONDS:
            total += seconds[test]
            chosen.append(test)
    return chosen


def caught(module: str, tree: ast.Module, tests: Sequence[str], seconds: float) -> bool:
    """Whether one of the tests fails with the changed module, or they take much longer than their `seconds`."""

    def work() -> int:
        limit = 4 + int(seconds)  # of CPU; it ends the process
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        signal.alarm(5 * limit)  # threads that wait for each other use none
        sys.meta_path.insert(0, Changed(module, path_of(module), tree))
        files = dict.fromkeys(str(HERE / test.partition("::")[0]) for test in tests)
        return pytest_run(list(files), Chosen(tests))

    return bool(tests) and forked(work) != 0


def main() -> int:
    """Print what survived, and how much was caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--modules", nargs="+", choices=CORE, default=list(CORE), metavar="MODULE")
    parser.add_argument("--every", type=int, default=1, help="one change in so many (default: 1)")
    args = parser.parse_args()
    found = reached(args.modules)
    total = survived = 0
    for module in args.modules:
        began = time.monotonic()
        path = path_of(module)
        changes = [one for one in mutants(path.read_text(encoding="utf-8")) if (module, one[1]) not in EQUIVALENT]
        left = 0
        for line, words, tree in changes[:: args.every]:
            tests = asked(module, line, found)
            total += 1
            if not caught(module, tree, tests, sum(found["seconds"][test] for test in tests)):
                left += 1
                print(f"  {path.relative_to(HERE)}:{line}: {words}   ({len(tests)} tests)", flush=True)
        count = len(changes[:: args.every])
        print(f"{module}: {count - left} of {count} caught, in {time.monotonic() - began:.0f} s", flush=True)
        survived += left
    print(f"{total - survived} of {total} changes were caught: {(total - survived) / max(total, 1):.1%}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
