"""LeCun et al. 1990, equation 5, with the empirical Fisher for the diagonal of the Hessian."""

import pytest
import torch
from by_hand import LOG3, batch, two_weights
from reference_networks import NETWORKS, data, flat, highest, loss_of, network

from pruners import find, prunable, prune


def slopes_of(model, x, y):
    model.zero_grad()
    loss_of(model, x, y).backward()
    return {name: weight.grad.clone() for name, weight in prunable(model).items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("images", [1, 4])
def test_equals_one_image_after_the_other(name, images):
    model, batches = network(name), data()
    parts = [(x[i : i + images], y[i : i + images]) for x, y in batches for i in range(0, len(x), images)]
    slopes = [slopes_of(model, x, y) for x, y in parts]
    found = find(network(name), "obd", 2, batches, options={"images_per_gradient": images}).scores
    for layer, weight in prunable(model).items():
        h = sum(each[layer] ** 2 for each in slopes) / len(slopes)
        torch.testing.assert_close(found[layer], weight.detach() ** 2 * h / 2, rtol=1e-9, atol=1e-14)
    if images == 1:
        for compression in (2, 10):
            assert flat(prune(model, "obd", compression, batches)) == highest(found, compression)


def test_by_hand():
    # Slopes are (-1/4, 1/4) for label 0 and (3/4, -3/4) for label 1: h = (1/16 + 9/16) / 2 for both weights.
    scores = find(two_weights(), "obd", 2, [batch(0), batch(1)]).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) ** 2 * 5 / 32, 5 / 32])


def test_labels_that_do_not_count_are_left_out():
    x, _ = batch(0)
    scores = find(two_weights(), "obd", 2, [(x.repeat(2, 1), torch.tensor([0, -100]))]).scores["weight"]
    assert scores.flatten().tolist() == pytest.approx([(1 + LOG3) ** 2 / 32, 1 / 32])
