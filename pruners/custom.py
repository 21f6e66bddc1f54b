"""A user's own pruner, from the user's own file: `my_file.py:MyScore`."""

import inspect
from pathlib import Path

from pruners.errors import PruningError
from pruners.files import load_object
from pruners.pruner import Pruner


def is_custom(name: str) -> bool:
    """Whether `name` names an object in a file, and not a pruner of this package."""
    return ".py:" in name


def load(name: str, code: str = "") -> Pruner:
    """The pruner that `path/to/file.py:NAME` names: a `Pruner`, or a score function, which is wrapped in one.

    A function is called as `NAME(model, batches, mode=..., generator=...)` and returns a tensor per prunable
    weight (`Pruner.score`); it is taken to read the data and to have no options. Write a `Pruner` to say
    otherwise. `code`, if given, stands for the text of the file, which is then not looked for.
    Raises PruningError if the file cannot be found or run, or has no such name, or that is something else.
    """
    pruner = load_object(name, "Pruner", code)
    if isinstance(pruner, Pruner):
        return pruner
    if not inspect.isroutine(pruner):
        kind = "a class" if inspect.isclass(pruner) else f"of type {type(pruner).__name__}"
        raise PruningError(f"Pruner {name!r} is {kind}; it must be a pruners.Pruner or a score function.")
    try:
        inspect.signature(pruner).bind(None, (), mode="", generator=None)
    except TypeError as error:
        raise PruningError(f"Pruner {name!r} must take (model, batches, *, mode, generator): {error}.") from None
    place, _, wanted = name.rpartition(":")
    summary = (inspect.getdoc(pruner) or f"the score {wanted} of {Path(place).name}").splitlines()[0]
    return Pruner(score=pruner, summary=summary, paper="", needs_data=True)
