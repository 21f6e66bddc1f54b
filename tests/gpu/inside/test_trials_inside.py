"""Every kind of trial on the GPU as on the CPU: the same masks, the same losses to rounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pretended_gpu import counting
from safetensors.torch import load_file

from pruners import PRUNERS
from search_spaces import Trial
from trainables.context import Place
from trainables.measures import MEASURES
from trainables.record.event_log import read
from trainables.run import run

PLAIN = {"dataset": "digits", "architecture": "conv", "epochs": 1, "compression": 4, "samples_per_class": 2}
ITERATIONS = 3  # of pruners that prune a hundred times by default: each of them does the same


def trial(pruner: str, **fields: object) -> Trial:
    """Make a short trial with the pruner's own settings, as spaces do."""
    traits = PRUNERS[pruner]
    own = traits.settings(granularity=str(fields.get("granularity", "weight")))
    settings = {
        "scope": own.scope,
        "schedule": own.schedule,
        "iterations": min(own.iterations, ITERATIONS),
        "mode": own.mode,
        "options": dict(own.options),
        "granularity": own.granularity,
    }
    after = {"pretrain_epochs": 1} if traits.when == "after" and not traits.levels else {}
    levels = {"levels": 2, "rewind_epoch": 1, "epochs": 2} if traits.levels else {}
    return Trial(**PLAIN | {"pruner": pruner} | settings | after | levels | fields)


def weight_trials() -> dict[str, Trial]:
    alone = [name for name, pruner in PRUNERS.items() if pruner.when != "during" and not pruner.whole_filters]
    return {f"{name}-weight": trial(name) for name in alone}


KINDS = {
    **weight_trials(),
    **{f"{name}-filter": trial(name, granularity="filter", compression=2) for name in ("snip", "magnitude", "fpgm")},
    **{f"{name}-2:4": trial(name, granularity="2:4", compression=2) for name in ("snip", "magnitude")},
    "set": trial("set", options={"interval": 3}),
    "rigl": trial("rigl", options={"interval": 3}),
    "gradual": trial("gradual"),
    **{name: trial(name, options={"interval": 3}) for name in ("srigl", "gra-net", "top-kast")},
    **{name: trial(name) for name in ("ac-dc", "str", "movement", "edge-popup")},
    "dense": Trial(**PLAIN | {"compression": 1}),
    "ema": trial("snip", ema=0.9),
    "accumulate": trial("snip", accumulate=2),
    "bfloat16": trial("snip", architecture="mlp", precision="bfloat16"),
    "adam": trial("snip", optimizer="adam", lr=0.001),
    "nesterov": trial("snip", nesterov=True, lr_schedule="cosine", warmup_epochs=1, label_smoothing=0.1, epochs=2),
    "validation": trial("snip", validation=0.2),
    "mlp": trial("snip", architecture="mlp", batch_size=100),
    "resnet20": trial("snip", architecture="resnet20", dataset="digits", compression=20),
}  # fmt: skip


def computed(made: Trial, storage: Path, cache: Path, device: str) -> tuple[dict, dict, dict]:
    """Return the masks, metrics and tags of a trial that was run."""
    place = Place(storage=storage / device, cache=cache, device=device, gpus=1 if device == "cuda" else 0)
    outcome = run(made, place)
    assert outcome.end == "finished", outcome.error
    folder = place.storage / made.fingerprint
    metrics, tags = {}, {}
    for event, _ in read(folder):
        metrics |= event.get("metrics", {})
        tags |= event.get("tags", {})
    masks = folder / "masks.safetensors"
    return load_file(masks) if masks.exists() else {}, metrics, tags


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_on_the_gpu_is_as_on_the_cpu(kind, tmp_path, cache):
    masks, metrics, _ = computed(KINDS[kind], tmp_path, cache, "cpu")
    gpu_masks, gpu_metrics, tags = computed(KINDS[kind], tmp_path, cache, "cuda")
    assert tags["machine"] == torch.cuda.get_device_name()
    assert masks.keys() == gpu_masks.keys()
    moved = {name: int((masks[name] != gpu_masks[name]).sum()) for name in masks}
    assert sum(moved.values()) == 0, f"masks differ: {moved}"
    tolerance = 0.05 if KINDS[kind].precision == "bfloat16" else 1e-3
    assert gpu_metrics["final/loss"] == pytest.approx(metrics["final/loss"], rel=tolerance)


def while_training(counts):
    """Synchronizations but those of measuring testing time, which is repeated more or less often by the clock."""
    timing = ("when_done", "profiling.py", "paired_times.py")
    return sum(count for place, count in counts.places.items() if not any(part in place for part in timing))


@pytest.mark.parametrize("fields", [{}, {"pruner": "rigl"}, {"ema": 0.9, "accumulate": 2}], ids=["snip", "rigl", "ema"])
def test_the_host_waits_no_more_often_where_an_epoch_has_more_steps(fields, tmp_path, cache):
    waits = []
    for batch_size in (128, 40):
        options = {"interval": 100} if fields.get("pruner") == "rigl" else {}  # it reads its masks when they change
        made = trial(**{"pruner": "snip"} | fields, batch_size=batch_size, epochs=2, options=options)
        with counting(places=True) as counts:
            computed(made, tmp_path / str(batch_size), cache, "cuda")
        waits.append(counts)
    few, many = waits
    assert while_training(many) <= while_training(few), many.places - few.places
    assert not many.violations
    assert many.replayed > few.replayed > 0


@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_on_the_gpu_is_as_on_the_cpu(measure, tmp_path, cache):
    made = Trial(
        dataset="digits", architecture="conv", pruner="synflow", measure=measure, epochs=2, samples_per_class=2
    )
    found = []
    for device in ("cpu", "cuda"):
        _, metrics, _ = computed(made, tmp_path, cache, device)
        table = json.loads((tmp_path / device / made.fingerprint / "measure.json").read_text())["data"]
        found.append(({name: value for name, value in metrics.items() if not name.startswith("time/")}, table))
    (expected, rows), (metrics, gpu_rows) = found
    assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert len(gpu_rows) == len(rows)
    for row, gpu_row in zip(rows, gpu_rows, strict=True):
        assert gpu_row == [each if isinstance(each, str) else pytest.approx(each, rel=1e-3, abs=1e-6) for each in row]
