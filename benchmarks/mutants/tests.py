"""The tests, run in forked processes: all without any change, and for each change those that reach it."""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.mutants.changes import Changed
from benchmarks.mutants.core import HERE, path_of, test_files

TESTS_SECONDS = 6.0  # of CPU: the tests that a change has to pass
LONGEST = 1.5  # seconds of CPU: a test that takes longer is not asked
OURS = {"pruners", "search_spaces", "trainables", "orchestrator", "tests", "conftest", "nets", "__main__"}


class Reach:
    """Notes, per test of a pytest run without any change, its CPU seconds and the lines that it reaches."""

    def __init__(self, files: Sequence[Path]) -> None:
        """`files` are those whose lines count."""
        import coverage

        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []
        self.files = files
        self.measured = coverage.Coverage(data_file=None, include=[str(file) for file in files])
        self.measured.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins: what runs now is reached by it."""
        self.measured.switch_context(nodeid)
        self.began = time.process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """The test is over."""
        self.seconds[nodeid] = time.process_time() - self.began
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """It failed, perhaps: then it says nothing about a change."""
        if report.failed:
            self.failed.append(report.nodeid)

    def written(self) -> dict[str, Any]:
        """The seconds of the tests that can be asked, the contexts of each line, and what they imported."""
        self.measured.stop()
        data = self.measured.get_data()
        return {
            "seconds": {
                test: seconds for test, seconds in self.seconds.items() if seconds < LONGEST and test not in self.failed
            },
            "failed": self.failed,
            "lines": {str(file): data.contexts_by_lineno(str(file)) for file in self.files},
            "imported": [name for name in sys.modules if name.partition(".")[0] not in OURS],
        }


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
        print(f"  left out, because it fails without any change: {test}", flush=True)
    for name in found["imported"]:  # once, before the forks
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.freeze()  # or each fork looks through all of it at its end
    return found


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
