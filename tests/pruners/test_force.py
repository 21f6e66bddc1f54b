import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from pruners import PRUNERS, find, prune

LOG3 = math.log(3)


def two_weights():
    """For input 1 the logits are (2, 1 + log 3)."""
    layer = nn.Linear(1, 2, bias=False).double()
    layer.weight.data = torch.tensor([[2.0], [1 + LOG3]], dtype=torch.float64)
    return layer


BATCH = (torch.ones(1, 1, dtype=torch.float64), torch.tensor([1]))


def score(masks=None, loss="cross-entropy"):
    generator = torch.Generator().manual_seed(0)
    given = masks and {"weight": torch.tensor(masks)}
    return PRUNERS["force"].score(two_weights(), [BATCH], mode="eval", generator=generator, masks=given, loss=loss)["weight"]


def test_by_hand_a_pruned_weight_scores_its_value_in_the_network_without_it():
    # At c = (0, 1) the logits are (0, 1 + log 3): p0 = 1 / (1 + 3e), g = (p0, -p0); times w, not c w (section 4).
    p0 = 1 / (1 + 3 * math.e)
    assert score([[False], [True]]).flatten().tolist() == pytest.approx([2 * p0, (1 + LOG3) * p0])


def test_without_masks_it_is_snip():
    snip = find(two_weights(), "snip", 1, [BATCH], mode="eval").scores["weight"]
    assert torch.equal(score(), snip)
    assert torch.equal(score([[True], [True]]), snip)


def test_pruned_weights_return(model, batches):
    # The masks after each iteration of a run of ten.
    seen = [prune(model, "force", 20 ** (t / 10), batches, iterations=t, mode="eval") for t in range(1, 11)]
    returned = [bool((after[key] & ~before[key]).any()) for before, after in pairwise(seen) for key in after]
    assert any(returned)


def test_iter_snip_is_nested_where_force_is_not():
    assert PRUNERS["force"].revives and not PRUNERS["iter-snip"].revives


def test_defaults():
    for name in ("force", "iter-snip"):
        settings = PRUNERS[name].settings()
        assert (settings.schedule, settings.iterations, settings.mode) == ("exponential", 60, "train")
