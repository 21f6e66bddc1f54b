"""Loading of user-defined pruners and other objects from a user's own file: `my_file.py:MyScore`."""

import hashlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from pruners.errors import PruningError, in_one_line, require_known
from pruners.pruner import Pruner


def load_object(name: str, kind: str, code: str) -> Any:
    """Return the object `NAME` of `path/to/file.py:NAME`; error messages call it `kind`, such as "Pruner".

    The file is run at each call, with all side effects of importing it. If `code` is given, this text is run instead
    and the file is not read, so that it may be missing.
    Raises PruningError if the file cannot be found, read or run, or has no such name.
    """
    place, _, wanted = name.rpartition(":")
    path = Path(place).expanduser()
    what = f"{kind} {name!r}"
    found = vars(_run(path, code or _text(path, what), what))
    require_known(f"name in {path.name}", wanted, [key for key in found if not key.startswith("_")])
    return found[wanted]


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PruningError(f"{what}: line {line} of {path.name} is not UTF-8; save the file as UTF-8.") from None
    except FileNotFoundError:
        raise PruningError(f"{what}: there is no file {str(path)!r} in {str(Path.cwd())!r}.") from None
    except OSError as error:
        raise PruningError(f"{what}: {path.name} cannot be read: {error.strerror}.") from None


def _run(path: Path, text: str, what: str) -> ModuleType:
    module = ModuleType("pruners_own_" + hashlib.sha256(f"{path.name} {text}".encode()).hexdigest()[:12])
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    try:
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        sys.modules.pop(module.__name__, None)  # another thread may have run the same text
        raise PruningError(f"{what}: running {path.name} raised {in_one_line(error)}.") from error
    return module


def load(name: str, code: str = "") -> Pruner:
    """Load the pruner `path/to/file.py:NAME`, a `Pruner` or a score function, which is wrapped in one.

    A function is called as `NAME(model, batches, mode=..., generator=...)` and returns a tensor per prunable
    weight (`Pruner.score`); it is assumed to read the data and to have no options. Write a `Pruner` to change that.
    If `code` is given, this text is run instead of the file.
    Raises PruningError if the file cannot be found or run, has no such name, or `NAME` is neither.
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
    """Wrap a score function, which messages call `label`, in a `Pruner` that reads the data and has no options.

    The function is called as `score(model, batches, mode=..., generator=...)`, see `Pruner`. All other settings are
    the defaults of that class: scope "global", schedule "oneshot", mode "eval".
    Raises PruningError if the function does not take these arguments.
    """
    try:
        inspect.signature(score).bind(None, (), mode="", generator=None)
    except TypeError as error:
        raise PruningError(f"Pruner {label} must take (model, batches, *, mode, generator): {error}.") from None
    except ValueError:  # functions written in C may have no signature
        pass
    return Pruner(score=score, summary=(inspect.getdoc(score) or summary).splitlines()[0], paper="", needs_data=True)
