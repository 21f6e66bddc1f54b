"""Run a script statement by statement, going on after one that raises: python statements.py SCRIPT.

The cases are scripts that print what they find. Where the right answer is a refusal, the script would end there.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path


def main() -> None:
    """Execute the script named on the command line; print `RAISED <type>: <message>` for what a statement raises."""
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
