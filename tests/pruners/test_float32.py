"""TF32 is off inside, and afterwards all is as before, by whichever of torch's two ways it was set."""

import subprocess
import sys

import torch
from torch import nn

from pruners import compact, find
from pruners.float32 import tf32
from trainables.training.evaluation import evaluate

# Each setting in a process of its own: what torch does before anything is set cannot be brought back.
SCRIPT = """
import os
import sys
import torch
from pruners.float32 import ieee_float32, tf32

NEW = hasattr(torch.backends.cuda.matmul, "fp32_precision")
CUDA = [torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul] if NEW else []
CPU = [torch.backends.mkldnn.conv, torch.backends.mkldnn.rnn, torch.backends.mkldnn.matmul] if NEW else []
PARENTS = [torch.backends, torch.backends.cudnn] if NEW else []


def older(read):
    try:
        return read()
    except RuntimeError:  # the two ways disagree
        return "mixed"


def state():
    return [owner.fp32_precision for owner in (*PARENTS, *CUDA, *CPU)] + [
        older(torch.get_float32_matmul_precision),
        older(lambda: torch.backends.cuda.matmul.allow_tf32),
        older(lambda: torch.backends.cudnn.allow_tf32),
    ]


def check(setting):
    exec(setting)
    before = state()
    with tf32():
        training = state()
        assert all(owner.fp32_precision == "tf32" for owner in CUDA)
        assert torch.backends.cuda.matmul.allow_tf32 is True
        with ieee_float32():
            assert all(owner.fp32_precision == "ieee" for owner in (*CUDA, *CPU))
            assert torch.get_float32_matmul_precision() == "highest"
            assert torch.backends.cuda.matmul.allow_tf32 is False
            assert NEW or torch.backends.cudnn.allow_tf32 is False
        assert state() == training
    assert state() == before
    try:
        with ieee_float32():
            raise KeyError
    except KeyError:
        assert state() == before
    if NEW and setting == "pass":  # what the user says later for all still holds for all
        torch.backends.fp32_precision = "ieee"
        assert all(owner.fp32_precision == "ieee" for owner in (*CUDA, *CPU))


for setting in sys.argv[1:]:
    if not NEW and "fp32_precision" in setting:
        continue
    child = os.fork()
    if not child:
        check(setting)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, setting
    print("held:", setting)
"""
SETTINGS = [
    "pass",
    'torch.set_float32_matmul_precision("high")',
    'torch.set_float32_matmul_precision("medium")',
    "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cudnn.allow_tf32 = False",
    'torch.backends.fp32_precision = "tf32"',
    'torch.backends.cuda.matmul.fp32_precision = "tf32"',
    'torch.backends.cudnn.fp32_precision = "tf32"',
    'torch.backends.cudnn.conv.fp32_precision = "ieee"',
    'torch.backends.mkldnn.fp32_precision = "bf16"',
    'torch.backends.mkldnn.matmul.fp32_precision = "bf16"',
]


def test_off_inside_and_as_before_afterwards():
    ran = subprocess.run([sys.executable, "-c", SCRIPT, *SETTINGS], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    held = [line.removeprefix("held: ") for line in ran.stdout.splitlines()]
    new = hasattr(torch.backends.cuda.matmul, "fp32_precision")
    assert held == [setting for setting in SETTINGS if new or "fp32_precision" not in setting]


def test_scores_and_tests_are_computed_in_ieee_float32(model, batches):
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            seen.append(torch.backends.cuda.matmul.allow_tf32)
            return self.net(x)

    watched = Watched()
    with tf32():
        found = find(watched, "grasp", 2, batches)
        evaluate(watched, batches)
        assert seen and not any(seen)
        compact(watched, found.masks, (3, 4, 4))
        assert not any(seen)
        watched(batches[0][0])
        assert seen[-1]
