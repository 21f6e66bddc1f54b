"""Fair early stopping: what it leaves of each compression, and what it costs, against no stopping and plain stopping.

    python -m benchmarks.fairness [--seeds 2] [--epochs 27] [--only 'hyperband, fair' ...]

The digits space, one network, six compressions. "Plain" compares all trials with all (`group: []`), as schedulers do
that know nothing of compressions. Epochs are counted in the trials' records.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from search_spaces import Trial
from trainables.record.event_log import ended, read

COMPRESSIONS = (1, 2, 5, 10, 20, 50)
RULES: dict[str, dict[str, object]] = {
    "asha, fair": {"name": "asha"},
    "asha, plain": {"name": "asha", "group": []},
    "hyperband, fair": {"name": "hyperband"},
    "hyperband, plain": {"name": "hyperband", "group": []},
    "median, fair": {"name": "median"},
    "median, plain": {"name": "median", "group": []},
}


def measure(rule: dict[str, object], seeds: int, epochs: int) -> tuple[Counter[float], Counter[float], int, int]:
    """Survivors and trials by compression, epochs trained, and epochs of the full grid."""
    fields = {"architecture": "mlp", "compression": list(COMPRESSIONS), "seed": list(range(seeds)), "epochs": epochs}
    fields |= {"validation": 0.2, "early_stopping": rule}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "orchestrator.sweep", "digits", "--output", folder]
        command += [word for key, value in fields.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        survivors: Counter[float] = Counter()
        trials: Counter[float] = Counter()
        trained = full = 0
        for record in (Path(folder) / "checkpoints").glob("*/trial.json"):
            trial = Trial.model_validate_json(record.read_text(encoding="utf-8"))
            trials[trial.compression] += 1
            survivors[trial.compression] += ended(record.parent) == "finished"
            trained += sum("train/loss" in event.get("metrics", {}) for event, _ in read(record.parent))
            full += trial.epochs
    return survivors, trials, trained, full


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--only", nargs="*", choices=tuple(RULES), default=("asha, fair", "asha, plain"))
    args = parser.parse_args()
    print(f"{'survivors at':18}" + "".join(f"{f'{c}x':>8}" for c in COMPRESSIONS) + "   epochs trained   saved")
    for name in args.only:
        survivors, trials, trained, full = measure(RULES[name], args.seeds, args.epochs)
        row = "".join(f"{f'{survivors[c]}/{trials[c]}':>8}" for c in COMPRESSIONS)
        print(f"{name:18}{row}   {f'{trained}/{full}':>14}{1 - trained / full:>8.0%}", flush=True)


if __name__ == "__main__":
    main()
