"""Run a script statement by statement, going on after one that raises: python statements.py SCRIPT.

The cases are scripts that print what they find. Where the right answer is a refusal, the script would end there. They
were written before files moved, so the places that they import from are mapped to today's.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

MOVED = {  # module then -> module now, and names that changed with it
    "orchestrator.plan": ("orchestrator.planning.plan", {}),
    "orchestrator.reading.store": ("orchestrator.results.store", {}),
    "trainables.bench": ("trainables.training.trainer", {"bench": "make_trainer"}),
    "trainables.biases": ("trainables.training.batch_norm", {}),
    "trainables.folding": ("trainables.training.evaluation", {}),
    "trainables.place": ("trainables.context", {}),
}


class _Then(ModuleType):
    """A module under the name that it once had, imported when something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # torch, for one, looks at all modules while it is imported
            raise AttributeError(name)
        module, renamed = MOVED[self.__name__]
        return getattr(import_module(module), renamed.get(name, name))


def main() -> None:
    """Execute the script named on the command line; print `RAISED <type>: <message>` for what a statement raises."""
    sys.modules.update({name: _Then(name) for name in MOVED})
    script = Path(sys.argv.pop(1))
    sys.path.insert(0, str(script.parent))
    names = {"__name__": "__main__", "__file__": str(script)}
    for statement in ast.parse(script.read_text(encoding="utf-8")).body:
        try:
            exec(compile(ast.Module([statement], []), str(script), "exec"), names)
        except Exception as error:  # noqa: BLE001 - printed, for the test to judge
            print(f"RAISED {type(error).__name__}: {' '.join(str(error).split())}")  # noqa: T201


if __name__ == "__main__":
    main()
