"""A user's own pruner, from the user's own file: `my_file.py:MyScore`."""

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from pruners.errors import PruningError, require_known
from pruners.pruner import Pruner


def is_custom(name: str) -> bool:
    """Whether `name` names an object in a file, and not a pruner of this package."""
    return ".py:" in name


def load(name: str) -> Pruner:
    """The pruner that `path/to/file.py:NAME` names: a `Pruner`, or a score function, which is wrapped in one.

    A function is called as `NAME(model, batches, mode=..., generator=...)` and returns a tensor per prunable
    weight (`Pruner.score`); it is taken to read the data and to have no options. Write a `Pruner` to say
    otherwise. The file is run each time: what it does when imported is its author's business.
    Raises PruningError if the file cannot be found or run, or has no such name, or that is something else.
    """
    place, _, wanted = name.rpartition(":")
    path = Path(place).expanduser()
    if not path.is_file():
        raise PruningError(f"Pruner {name!r}: there is no file {str(path)!r} in {str(Path.cwd())!r}.")
    found = vars(_run(path, name))
    require_known(f"name in {path.name}", wanted, [key for key in found if not key.startswith("_")])
    pruner = found[wanted]
    if isinstance(pruner, Pruner):
        return pruner
    if not inspect.isroutine(pruner):
        kind = "a class" if inspect.isclass(pruner) else f"of type {type(pruner).__name__}"
        raise PruningError(f"Pruner {name!r} is {kind}; it must be a pruners.Pruner or a score function.")
    try:
        inspect.signature(pruner).bind(None, (), mode="", generator=None)
    except TypeError as error:
        raise PruningError(f"Pruner {name!r} must take (model, batches, *, mode, generator): {error}.") from None
    summary = (inspect.getdoc(pruner) or f"the score {wanted} of {path.name}").splitlines()[0]
    return Pruner(score=pruner, summary=summary, paper="", needs_data=True)


def _run(path: Path, name: str) -> Any:
    module_name = f"pruners_custom_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise PruningError(f"Pruner {name!r}: {str(path)!r} cannot be run as a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look a class's module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        line = " ".join(str(error).split())
        raise PruningError(f"Pruner {name!r}: running {path.name} raised {type(error).__name__}: {line}.") from error
    return module
