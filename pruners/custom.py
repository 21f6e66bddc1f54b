"""A user's own pruner, from the user's own file: `my_file.py:MyScore`."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    place, _, wanted = name.rpartition(":")
    return wrapped(pruner, repr(name), f"the score {wanted} of {Path(place).name}")


def wrapped(score: Callable[..., Any], label: str, summary: str) -> Pruner:
    """Make a pruner of a score function, which `label` names in messages: it reads the data and has no options.

    It is called as `score(model, batches, mode=..., generator=...)`, see `Pruner`; all other settings are that class's
    defaults: scope "global", schedule "oneshot", mode "eval".
    Raises PruningError if it cannot be called so.
    """
    try:
        inspect.signature(score).bind(None, (), mode="", generator=None)
    except TypeError as error:
        raise PruningError(f"Pruner {label} must take (model, batches, *, mode, generator): {error}.") from None
    except ValueError:  # a function of C code says nothing of its arguments
        pass
    return Pruner(score=score, summary=(inspect.getdoc(score) or summary).splitlines()[0], paper="", needs_data=True)
