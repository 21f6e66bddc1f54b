"""A team of two workers, each on a GPU of its own, trains what two workers on CPUs train."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from search_spaces import Trial
from trainables.outbox import read
from trainables.place import Place
from trainables.run import run_together


@pytest.mark.parametrize("architecture", ["conv"])
def test_a_team_on_gpus_is_as_on_cpus(architecture, tmp_path):
    assert torch.cuda.device_count() == 2
    made = Trial(dataset="digits", architecture=architecture, pruner="snip", compression=4, epochs=2, accumulate=2)
    found = []
    for device in ("cpu", "cuda"):
        place = Place(tmp_path / device, tmp_path / "data", device=device, workers=2, gpus=float(device == "cuda"))
        outcome = run_together(made, place)
        assert outcome.end == "finished", outcome.error
        folder = place.storage / made.fingerprint
        metrics, tags = {}, {}
        for event, _ in read(folder):
            metrics |= event.get("metrics", {})
            tags |= event.get("tags", {})
        assert tags["workers"] == "2"
        found.append((load_file(folder / "masks.safetensors"), metrics["final/loss"], tags["machine"]))
    (masks, loss, _), (gpu_masks, gpu_loss, machine) = found
    assert machine == torch.cuda.get_device_name()
    assert all(torch.equal(masks[name], gpu_masks[name]) for name in masks)
    assert gpu_loss == pytest.approx(loss, rel=1e-3)
