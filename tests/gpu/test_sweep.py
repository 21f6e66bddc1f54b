"""A sweep on Ray, whose workers have a pretended GPU: as the same sweep on the CPU, without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pretended_machine import ROOT
from safetensors.torch import load_file

from trainables.record.event_log import read

pytestmark = pytest.mark.gpu

SPACE = """
dataset: digits
architecture: conv
pruner: [snip, {name: magnitude, pretrain_epochs: 1}]
compression: [5]
epochs: 1
"""


def records(output: Path) -> dict[str, tuple[dict, dict, dict]]:
    """Return masks, metrics and tags of each trial by its fingerprint."""
    found = {}
    for folder in (output / "checkpoints").iterdir():
        metrics, tags = {}, {}
        for event, _ in read(folder):
            metrics |= event.get("metrics", {})
            tags |= event.get("tags", {})
        if "final/loss" in metrics:
            masks = folder / "masks.safetensors"
            found[folder.name] = load_file(masks) if masks.exists() else {}, metrics, tags
    return found


def test_a_sweep_on_ray_shares_a_gpu_and_gives_the_cpus_masks(pretended_gpu, tmp_path):
    space = tmp_path / "shared.yaml"
    space.write_text(SPACE)
    command = [sys.executable, "-m", "orchestrator.sweep", str(space), "--output"]
    on_gpu = pretended_gpu.run([*command, str(tmp_path / "gpu"), "--gpus-per-trial", "0.5"])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, str(tmp_path / "cpu"), "--local"], env=environment, cwd=ROOT, check=True, timeout=600)
    found, expected = records(tmp_path / "gpu"), records(tmp_path / "cpu")
    assert "2 of 2 trials finished" in on_gpu.stdout
    assert len(found) >= 2
    assert found.keys() == expected.keys()
    for fingerprint, (masks, metrics, tags) in found.items():
        assert tags["machine"] == "Pretended GPU"
        assert metrics["final/loss"] == pytest.approx(expected[fingerprint][1]["final/loss"], rel=1e-3)
        assert all(torch.equal(masks[name], mask) for name, mask in expected[fingerprint][0].items())
