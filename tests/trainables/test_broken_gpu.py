"""A GPU that broke is nobody's failure: the trial goes on in another process."""

from __future__ import annotations

from search_spaces import Trial
from trainables.outbox import ended
from trainables.run import run

ASSERTED = (
    "import torch\ndef broken(*_, **__): raise torch.AcceleratorError('CUDA error: device-side assert triggered')"
)
BREAKS = """
import torch
from torch import nn

class Breaks(nn.Linear):
    def forward(self, x):
        if self.training:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return super().forward(x)

def build(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), Breaks(64, num_classes))
"""


def digits(**fields):
    return Trial(**{"dataset": "digits", "architecture": "mlp", "compression": 4, "epochs": 1, **fields})


def test_one_that_broke_in_a_trial(place):
    trial = digits(pruner="own.py:broken", code=ASSERTED)
    outcome = run(trial, place)
    assert (outcome.end, outcome.error) == ("broken", "AcceleratorError: CUDA error: device-side assert triggered")
    assert ended(place.storage / trial.fingerprint) is None


def test_one_that_broke_in_what_a_trial_starts_from(place):
    own = {"architecture": "breaks.py:build", "architecture_code": BREAKS}
    trial = digits(pruner="magnitude", pretrain_epochs=1, **own)
    assert run(trial, place).end == "broken"
    assert ended(place.storage / trial.fingerprint) is None
