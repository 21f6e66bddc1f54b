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
import sys
import time

from benchmarks.mutants.changes import mutants
from benchmarks.mutants.core import CORE, EQUIVALENT, HERE, path_of
from benchmarks.mutants.tests import asked, caught, reached


def main() -> int:
    """Print what survived, and how much was caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--modules", nargs="+", choices=CORE, default=list(CORE), metavar="MODULE")
    parser.add_argument("--every", type=int, default=1, help="make only every N-th change (default: 1)")
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
