"""On a GPU with too little memory for a whole batch: the scores come from less, and are the same."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

# Printed: what one score needs whole, and how it is taken under a limit below that, with what difference.
SCRIPT = """
import gc
import json
import sys

import torch
from torch import nn

from pruners import find

name, mode, share = sys.argv[1], sys.argv[2], float(sys.argv[3])
torch.manual_seed(0)
layers = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
for _ in range(3):
    layers += [nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)).double().cuda()
batches = [(torch.randn(32, 3, 32, 32, dtype=torch.float64), torch.arange(32) % 10)]
options = {"schedule": "oneshot", "iterations": 1, "mode": mode}


def peak(**more):
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    found = find(model, name, 4, batches, **options, **more)
    return found, torch.cuda.max_memory_reserved()


whole, needed = peak()
before = torch.cuda.get_rng_state()
total = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(share * needed / total)
found, least = peak()
assert torch.equal(before, torch.cuda.get_rng_state())
worst = max(float((found.scores[key] - score).abs().max() / score.abs().max()) for key, score in whole.scores.items())
same = all(torch.equal(found.masks[key], mask) for key, mask in whole.masks.items())
how = {"whole": whole.how, "how": found.how}
print(json.dumps({**how, "needed": needed, "least": least, "worst": worst, "same": same}))
"""


def scored(machine, *arguments: str) -> dict[str, Any]:
    return machine.run([sys.executable, "-c", SCRIPT, *arguments]).answer


@pytest.mark.parametrize("name", ["snip", "grasp", "iter-snip", "force", "ntk-sap"])
def test_sums_over_inputs_are_taken_in_micro_batches(pretended_gpu, name):
    said = scored(pretended_gpu, name, "eval", "0.6")
    assert said["whole"] == "whole batches"
    assert said["how"].startswith("in micro-batches of ")
    assert said["least"] <= 0.6 * said["needed"]
    assert said["worst"] < 1e-12 and said["same"]


@pytest.mark.parametrize(("name", "share"), [("snip", 0.75), ("prospr", 0.75)])
def test_others_have_their_activations_in_host_memory(pretended_gpu, name, share):
    said = scored(pretended_gpu, name, "train", str(share))
    assert said["how"] == "activations in host memory"
    assert said["least"] <= share * said["needed"]
    assert said["worst"] == 0 and said["same"]  # bit for bit
