"""One trial from start to end, in one plain process: data -> model -> scores -> masks -> training -> record.

python -m trainables.run TRIAL.json FOLDER      # debug or profile a trial without Ray and without MLflow
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruners import find
from search_spaces import Trial
from trainables import checkpoint, datasets
from trainables.architectures import build
from trainables.datasets.batches import scoring_batches, test_batches, train_batches
from trainables.evaluation import evaluate
from trainables.outbox import End, Outbox, ended, read
from trainables.recording import Recorder
from trainables.training import train

SMALL = 16  # pixels: channels-last is 1.4 times faster for ResNet-20 on 32x32 images, but slower on 8x8 ones


@dataclass(frozen=True)
class Place:
    """Where a trial runs: nothing here changes its result."""

    storage: Path  # one folder per fingerprint: outbox, checkpoint, artifacts
    cache: Path  # decoded datasets, one copy per node
    data_root: Path | None = None  # datasets that are on disk already; only read
    device: str = "cpu"
    threads: int = 1
    save_seconds: float = 60.0
    weights_mb: float = 16.0  # trained weights larger than this are not kept


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and the error in one line if it failed."""

    end: End
    error: str = ""


def run(trial: Trial, place: Place) -> Outcome:
    """Compute `trial`, or what is left of it: a finished one returns at once, a started one goes on.

    All results are in the outbox of `place.storage / trial.fingerprint`. An exception of the trial is recorded
    there with its traceback and returned as a failed outcome; it is never raised.
    """
    folder = place.storage / trial.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    if ended(folder) == "finished":
        return Outcome("finished")
    outbox = Outbox(folder)
    try:
        _compute(trial, place, folder, outbox)
    except Exception as error:  # noqa: BLE001 - whatever a trial raises is its result, not the sweep's
        line = f"{type(error).__name__}: {' '.join(str(error).split())}"
        (folder / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
        outbox.artifact("traceback.txt")
        outbox.tags({"error": line[:500]})
        outbox.end("failed")
        return Outcome("failed", line)
    finally:
        outbox.close()
    return Outcome("finished")


def _compute(trial: Trial, place: Place, folder: Path, outbox: Outbox) -> None:
    started = time.perf_counter()
    torch.set_num_threads(place.threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    device = torch.device(place.device)
    recorder = Recorder(trial, folder, outbox)
    recorder.trial(device)
    data = datasets.load(trial.dataset, place.data_root, place.cache)
    input_shape = data.input_shape
    model = build(trial.architecture, input_shape, data.num_classes, trial.seed).to(device)
    if min(input_shape[1:]) >= SMALL:
        model = model.to(memory_format=torch.channels_last)
    masks = _masks(trial, model, data, recorder, device)

    state = checkpoint.load(folder / "checkpoint.pt", device)
    spent = state.pop("spent_seconds") if state else 0.0

    def save(state: dict[str, Any]) -> None:
        outbox.sync()  # a metric must never be younger than the checkpoint that skips its epoch
        seconds = spent + time.perf_counter() - started
        checkpoint.save(folder / "checkpoint.pt", state | {"spent_seconds": seconds})

    def test() -> dict[str, float]:
        return evaluate(model, test_batches(data, device=device))

    progress = train(
        model,
        masks,
        trial,
        batches=lambda epoch: train_batches(data, trial.seed, epoch, trial.batch_size, device),
        evaluate=test,
        report=outbox.metrics,
        state=state,
        save=save,
        save_seconds=place.save_seconds,
    )
    final = progress.last or test()
    outbox.metrics({f"final/{key}": value for key, value in final.items()})
    outbox.metrics({"best/top1": max(progress.best_top1, final["top1"])})
    outbox.metrics({"time/train_seconds": progress.train_seconds})
    recorder.trained(model, masks, input_shape, place.weights_mb)
    outbox.metrics({"time/total_seconds": spent + time.perf_counter() - started})
    outbox.end("finished")
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _masks(
    trial: Trial, model: nn.Module, data: datasets.Dataset, recorder: Recorder, device: torch.device
) -> dict[str, Tensor]:
    """The trial's masks: from disk if they are recorded there, otherwise computed and recorded."""
    stored = recorder.stored_masks(device)
    if stored is not None:
        return stored
    masks: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    started = time.perf_counter()
    if trial.pruner != "dense":
        pruning = find(
            model,
            trial.pruner,
            compression=trial.compression,
            batches=scoring_batches(data, trial.seed, trial.samples_per_class, device=device),
            scope=trial.scope,
            schedule=trial.schedule,
            iterations=trial.iterations,
            mode=trial.mode,
            seed=trial.seed,
            options=trial.options,
        )
        masks, scores = dict(pruning.masks), dict(pruning.scores)
    recorder.pruned(model, masks, scores, data.input_shape, time.perf_counter() - started)
    return masks


def main() -> int:
    """Run the trial of a trial.json in a folder and print its record."""
    source, folder = map(Path, sys.argv[1:3])
    trial = Trial.model_validate_json(source.read_text(encoding="utf-8"))
    outcome = run(trial, Place(storage=folder, cache=folder / "data"))
    for event, _ in read(folder / trial.fingerprint):
        print(json.dumps(event))  # noqa: T201
    return 0 if outcome.end == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
