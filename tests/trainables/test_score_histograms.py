"""How scores lie: every score is counted once, in the bin of its power of ten, or said to be zero."""

from __future__ import annotations

import torch

from trainables.artifacts import score_histograms


def test_every_score_is_counted_by_its_size() -> None:
    scores = {"a.weight": torch.tensor([[1e-3, -1e-1], [0.0, 10.0]]), "b.weight": torch.tensor([2.0, -torch.inf])}
    first, second = score_histograms(scores)
    assert (first["layer"], first["zeros"], sum(first["counts"])) == ("a.weight", 1, 3)
    assert (round(first["edges"][0], 6), round(first["edges"][-1], 6)) == (-3, 1)
    assert first["counts"][0] == first["counts"][-1] == first["counts"][20] == 1
    assert (second["zeros"], sum(second["counts"])) == (0, 1)  # what was pruned before has no size


def test_a_layer_of_zeros_is_no_error() -> None:
    [layer] = score_histograms({"a.weight": torch.zeros(3, 2)})
    assert (layer["zeros"], sum(layer["counts"]), len(layer["edges"])) == (6, 0, 42)
