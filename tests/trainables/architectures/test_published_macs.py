"""Multiply-accumulates and parameters of torchvision's models, against what torchvision publishes."""

from __future__ import annotations

import pytest

from benchmarks.macs import measure, names

QUICK = (
    "alexnet",
    "resnet18",
    "vit_b_16",
    "swin_t",
    "mobilenet_v3_small",
    "googlenet",
    "squeezenet1_1",
    "regnet_y_400mf",
)


@pytest.mark.parametrize("name", QUICK)
def test_within_one_percent(name):
    row = measure(name)
    assert row.agrees, row


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name not in QUICK])
def test_all_others_within_one_percent(name):
    row = measure(name)
    assert row.agrees, row


def test_all_kinds_are_there():
    kinds = {"vit", "swin", "convnext", "efficientnet", "maxvit", "resnet", "regnet", "densenet", "vgg", "inception"}
    assert len(names()) >= 30
    assert not [kind for kind in kinds if not any(name.startswith(kind) for name in names())]
