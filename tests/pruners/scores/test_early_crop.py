"""EarlyCroP's score by an explicit Hessian; docs/names.md says how it compares with the published program."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from orchestrator.planning.catalog import catalog
from pruners import PRUNERS, find, prunable
from search_spaces import SpaceError, expand
from search_spaces.space import validate


@pytest.mark.parametrize("pruned", [False, True])
def test_scores_are_those_of_the_whole_hessian(pruned):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    batches = [(torch.randn(6, 4, dtype=torch.float64), torch.randint(3, (6,))) for _ in range(2)]
    masks = {name: torch.rand_like(w) < (0.5 if pruned else 2) for name, w in prunable(model).items()}
    shapes = {name: w.shape for name, w in prunable(model).items()}
    kept = torch.cat([mask.flatten() for mask in masks.values()])

    def loss(flat):
        parts = dict(zip(shapes, flat.split([shape.numel() for shape in shapes.values()]), strict=True))
        weights = {name: part.view(shapes[name]) for name, part in parts.items()}
        return sum(F.cross_entropy(functional_call(model, weights, (x,)), y) for x, y in batches)

    at = torch.cat([w.detach().flatten() for w in prunable(model).values()]) * kept
    slope = torch.autograd.functional.jacobian(loss, at) * kept
    expected = (at * (torch.autograd.functional.hessian(loss, at) @ slope)).abs()
    found = PRUNERS["early-crop"].score(model, batches, mode="eval", generator=torch.Generator(), masks=masks)
    assert torch.allclose(torch.cat([score.flatten() for score in found.values()]), expected, rtol=1e-10, atol=1e-14)


def test_later_iterations_score_the_pruned_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    batch = [(torch.randn(12, 8), torch.randint(3, (12,)))]
    once, steps = (find(model, "early-crop", 10, batch, iterations=n).masks for n in (1, 5))
    assert any(not torch.equal(once[name], steps[name]) for name in once)


def record(**pruner):
    raw = {"dataset": "digits", "architecture": "conv", "compression": 4, "epochs": 3}
    space = validate(raw | {"pruner": {"name": "early-crop", **pruner}}, "space")
    return expand(space, catalog())[1][0]


def test_the_epoch_must_be_given():
    assert record(pretrain_epochs=2).pretrain_epochs == 2
    with pytest.raises(SpaceError, match=r"early-crop: pretrain_epochs: missing; it prunes early in training"):
        record()
