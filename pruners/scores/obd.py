"""Optimal Brain Damage: the second-order effect on the loss of removing a weight, with a diagonal Hessian."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import gradients_of_images, leaves, noise, passes
from pruners.pruner import Batch, Pruner


def score(
    model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator, images_per_gradient: int = 1
) -> dict[str, Tensor]:
    """Return ½ w² h, h the diagonal of the Hessian (LeCun et al. 1990, equation 5), by the empirical Fisher.

    That is h = the mean of (dL_i/dw)² over the images i, their labels as given: the expectation is the Hessian of a
    network that fits its data. With `images_per_gradient` above 1, L_i is the mean loss of so many images. Scores are
    float64.
    """
    weights = leaves(model)
    total = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights.values()]
    count = 0
    with passes(model, mode, noise(generator)):
        for slopes in gradients_of_images(model, weights, batches, images_per_gradient):
            torch._foreach_add_(total, [slope.double().square() for slope in slopes])
            count += 1
    pairs = zip(weights.items(), total, strict=True)
    return {name: weight.detach().double().square() * h / (2 * count) for (name, weight), h in pairs}


OBD = Pruner(
    score=score,
    summary="½ w² h, the effect of a weight on the loss; h is the diagonal of the empirical Fisher",
    paper="LeCun et al. 1990, Optimal Brain Damage",
    needs_data=True,
    when="after",
    options={"images_per_gradient": 1},
    least={"images_per_gradient": 1},
)
