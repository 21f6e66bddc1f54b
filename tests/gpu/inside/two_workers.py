"""Train with one worker and with two on GPUs; print what they found as JSON. Usage: two_workers.py FOLDER."""

from __future__ import annotations

import json
import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path

import torch

from search_spaces import Trial
from trainables.architectures import build
from trainables.context import Place
from trainables.datasets.batches import part_of
from trainables.distributed import ALONE, Team
from trainables.launch import LOOPBACK, WorkerProcess, leading, take_part
from trainables.record.event_log import read
from trainables.run import run_together
from trainables.training.evaluation import evaluate
from trainables.training.loop import Callbacks, TrainingData, TrainingState, train

SNIP = Trial(dataset="digits", architecture="conv", pruner="snip", compression=10, epochs=1, lr=0.05, batch_size=256)


def curve(place: Place, team: Team, precision: str, accumulate: int) -> list[float]:
    """Return the losses of 18 images in batches of 8: of the last 2 images a worker has none in some micro-batches."""
    device, dtype = torch.device(place.device), torch.float64 if precision == "float32" else torch.float32
    model = build("resnet20", (3, 8, 8), 10, seed=0).to(device, dtype)
    x = torch.randn(18, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype).to(device)
    y = (torch.arange(18) % 10).to(device)
    wholes = torch.split(torch.arange(18), 8)
    parts = [torch.cat(part_of(rows, team.part, accumulate)) for rows in wholes]
    losses: list[float] = []
    trial = Trial(dataset="digits", architecture="mlp", epochs=2, lr=0.02, accumulate=accumulate, precision=precision)
    train(
        TrainingState(model, {}, trial, 3, team=team),
        TrainingData(
            lambda epoch, skip: [(x[part], y[rows]) for part, rows in zip(parts, wholes, strict=True)][skip:],
            lambda: evaluate(model, [(x[part], y[part]) for part in parts], team),
        ),
        Callbacks(
            lambda metrics, epoch: losses.extend([metrics["train/loss"], metrics["test/loss"]]), lambda state: None
        ),
    )
    return losses


def curves(place: Place, team: Team) -> list[list[float]]:
    """Return those in float64, and in bfloat16 with gradients added up."""
    return [curve(place, team, "float32", 1), curve(place, team, "bfloat16", 2)]


def together(place: Place) -> list[list[float]]:
    """Return the curves of the first of two workers; the other one has the second GPU."""

    def launch(seat: object) -> WorkerProcess:
        other = replace(place, device="cuda:1")
        process = multiprocessing.get_context("spawn").Process(target=take_part, args=(other, seat, curves))
        process.start()
        return WorkerProcess(process)

    with leading(replace(place, workers=2), LOOPBACK, launch) as led:
        return curves(led, led.team)


def trial(place: Place) -> dict[str, object]:
    """Return how the trial ends, how it was stepped, and its masks in hexadecimal."""
    outcome = run_together(SNIP, place)
    folder = place.storage / SNIP.fingerprint
    tags = {key: value for event, _ in read(folder) for key, value in event.get("tags", {}).items()}
    masks = folder / "masks.safetensors"
    return {
        "end": outcome.end,
        "error": outcome.error,
        "stepped": tags.get("stepped"),
        "masks": masks.read_bytes().hex() if masks.exists() else "",
    }


def main() -> None:
    """Print both curves, and a trial on one CPU and on two GPUs."""
    folder = Path(sys.argv[1])
    place = Place(storage=folder / "gpu", cache=folder / "data", device="cuda", gpus=1)
    found = {
        "alone": curves(replace(place, device="cuda:0"), ALONE),
        "together": together(replace(place, device="cuda:0")),
        "on_cpu": trial(replace(place, storage=folder / "cpu", device="cpu", gpus=0)),
        "on_gpus": trial(replace(place, workers=2)),
    }
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
