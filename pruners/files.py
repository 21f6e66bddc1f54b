"""Objects from a user's own file: `my_file.py:NAME`."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pruners.errors import PruningError, in_one_line, require_known, words


def load_object(name: str, kind: str, code: str = "") -> Any:
    """What `path/to/file.py:NAME` names. `kind` is what a message calls it: "Pruner".

    The file is run each time: what it does when imported is its author's business. `code`, if given, is the text
    to run, and the file is not looked for: so it works where the file does not lie.
    Raises PruningError if the file cannot be found, read or run, or has no such name.
    """
    place, _, wanted = name.rpartition(":")
    path = Path(place).expanduser()
    if not code and not path.is_file():
        raise PruningError(f"{kind} {name!r}: there is no file {str(path)!r} in {str(Path.cwd())!r}.")
    try:
        text = code or path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PruningError(f"{kind} {name!r}: {str(path)!r} cannot be read as UTF-8 text ({words(error)}).") from None
    found = vars(_run(path, text, f"{kind} {name!r}"))
    require_known(f"name in {path.name}", wanted, [key for key in found if not key.startswith("_")])
    return found[wanted]


def _run(path: Path, text: str, what: str) -> ModuleType:
    module = ModuleType("pruners_own_" + hashlib.sha256(f"{path.name} {text}".encode()).hexdigest()[:12])
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses and pickle look a class's module up there
    try:
        exec(compile(text, str(path), "exec", dont_inherit=True), vars(module))
    except Exception as error:
        sys.modules.pop(module.__name__, None)  # another thread may have run the same text
        raise PruningError(f"{what}: running {path.name} raised {in_one_line(error)}.") from error
    return module
