"""Objects from a user's own file: `my_file.py:NAME`."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pruners.errors import PruningError, in_one_line, require_known


def load_object(name: str, kind: str, code: str) -> Any:
    """What `path/to/file.py:NAME` names. `kind` is what a message calls it: "Pruner".

    The file is run each time: what it does when imported is its author's business. `code`, if given, is the text
    to run, and the file is not looked for: so it works where the file does not lie.
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
