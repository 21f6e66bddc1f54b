"""Wanda: the size of a weight times the norm of the activations that it multiplies."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import micro_batches, noise, passes
from pruners.layer_inputs import Product, add_squares, require_seen, require_visible, visit_products
from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return |w_ij| · ‖X_j‖₂, X_j the input j of all images and positions (Sun et al. 2024, equation 1).

    An input of a convolution is a channel at one place of the kernel, padding included, so that its weight is a matrix
    as that of a linear layer. All layers see the activations of the network as it is given; labels are not read.
    Scores are float64.

    Raises:
        PruningError: naming the layers, if the inputs of a layer that matters cannot be seen.
    """
    weights = {name: weight.detach() for name, weight in prunable(model).items()}
    sums = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in weights.items()}
    device = next(iter(weights.values())).device
    seen: set[str] = set()

    def visit(product: Product) -> None:
        add_squares(sums[product.name], product, weights[product.name])

    with passes(model, mode, noise(generator)):
        for inputs, _ in batches:
            for part in micro_batches(model, inputs, [mode]):
                seen |= visit_products(model, inputs[part].to(device), visit)
        require_seen(model, batches[0][0].to(device), seen, "wanda")
    return {name: weight.double().abs() * sums[name].sqrt() for name, weight in weights.items()}


def _require_inputs(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    require_visible(model, input_shape, "wanda")


# The weights of an output compete with each other alone, as in the paper.
WANDA = Pruner(
    score=score,
    summary="|w| times the norm of its input, compared within each output",
    paper="Sun et al. 2024, A Simple and Effective Pruning Approach for Large Language Models",
    needs_data=True,
    check=_require_inputs,
    scope="row",
    when="after",
)
