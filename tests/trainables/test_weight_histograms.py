"""Histograms count the kept weights."""

from __future__ import annotations

import torch
from torch import nn

from trainables.artifacts import BINS, draw_histograms, histograms


def test_only_kept_weights_are_counted(tmp_path):
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    (layer,) = histograms(model, {"weight": mask})
    assert sum(layer["counts"]) == 3
    assert len(layer["counts"]) == BINS
    assert (layer["edges"][0], layer["edges"][-1]) == (-3, 3)


def test_an_empty_layer_has_an_empty_histogram_that_can_be_drawn(tmp_path):
    layers = histograms(nn.Linear(4, 2), {"weight": torch.zeros(2, 4, dtype=torch.bool)})
    assert sum(layers[0]["counts"]) == 0
    draw_histograms(layers, "nothing left", tmp_path / "h.png")
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
