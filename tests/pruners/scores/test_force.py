import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from pruners import PRUNERS, apply_masks, find, prune
from pruners.logits import loss_of

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
    return PRUNERS["force"].score(two_weights(), [BATCH], mode="eval", generator=generator, masks=given, loss=loss)[
        "weight"
    ]


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
    # naver/force 7494eed: README (60 steps), pruning/pruning_algos.py (nll_loss of outputs that experiments/models.py
    # leaves without log_softmax; a new iterator of the shuffled loader for each batch; no eval()).
    for name in ("force", "iter-snip"):
        settings = PRUNERS[name].settings()
        assert (settings.schedule, settings.iterations, settings.mode) == ("exponential", 60, "train")
        assert settings.options == {"loss": "nll", "fresh_batches": True}


def test_the_authors_loss_is_minus_the_logit_of_the_label():
    # dL/d(c w) = (0, -1) whatever the mask: the score is the size of the second weight alone.
    for masks in (None, [[False], [True]], [[True], [False]]):
        assert score(masks, loss="nll").flatten().tolist() == pytest.approx([0, 1 + LOG3])


def test_the_authors_loss_takes_all_labels_that_cross_entropy_takes():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 3, 1, -100, 2, 2])
    one_hot = nn.functional.one_hot(labels.clamp(min=0), 4)
    counted = labels != -100
    by_hand = -logits[counted, labels[counted]].mean()
    torch.testing.assert_close(loss_of(logits, labels, "nll"), by_hand)
    soft = 0.5 * one_hot + 0.5 / 4
    expected = -(soft * logits).sum(1).mean()
    torch.testing.assert_close(loss_of(logits, soft, "nll"), expected)
    # It is cross-entropy without the logarithm of the sum.
    torch.testing.assert_close(
        loss_of(logits, labels) - torch.logsumexp(logits, 1)[counted].mean(), loss_of(logits, labels, "nll")
    )


@pytest.mark.parametrize("name", ["force", "iter-snip"])
def test_each_iteration_has_batches_of_its_own(name, model, batches):
    asked = {"iterations": 4, "mode": "eval", "options": {"loss": "nll"}}
    drawn = []

    def redraw(iteration):
        drawn.append(iteration)
        generator = torch.Generator().manual_seed(iteration)
        return [(torch.randn(x.shape, generator=generator), y) for x, y in batches]

    fresh = find(model, name, 10, batches, redraw=redraw, **asked)
    assert drawn == [1, 2, 3]
    fixed = find(model, name, 10, batches, **asked)
    assert not all(torch.equal(fresh.masks[key], fixed.masks[key]) for key in fixed.masks)
    # The last iteration's scores are of the last draw, at the masks of the one before.
    before = prune(model, name, 10 ** (3 / 4), batches, redraw=redraw, **asked | {"iterations": 3})
    given = {"masks": before} if name == "force" else {}
    net = copy.deepcopy(model)
    if not given:
        apply_masks(net, before)
    generator = torch.Generator()
    expected = PRUNERS[name].score(net, redraw(3), mode="eval", generator=generator, **given)
    assert all(torch.equal(fresh.scores[key], score) for key, score in expected.items())


def test_fixed_batches_are_drawn_once(model, batches):
    asked = {"iterations": 4, "options": {"fresh_batches": False}}
    drawn = []
    found = find(model, "force", 10, batches, redraw=drawn.append, **asked)
    again = find(model, "force", 10, batches, **asked)
    assert not drawn
    assert all(torch.equal(found.masks[key], mask) for key, mask in again.masks.items())


def test_a_pruner_without_the_option_is_never_given_others(model, batches):
    drawn = []
    find(model, "snip", 10, batches, iterations=3, redraw=drawn.append)
    assert not drawn
