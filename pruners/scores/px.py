"""PX, path exclusion: keep the paths that make up the trace of the data's neural tangent kernel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import call, micro_batches, noise, passes
from pruners.linear_flow import LinearFlow, Patterns
from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(model: nn.Module, batches: Sequence[Batch], *, mode: str, generator: torch.Generator) -> dict[str, Tensor]:
    """Return w² · dR/dw², R = Σ_x Σ_k A_k(x) B_k (Iurada et al. 2024, section 4), summed over inputs and outputs.

    Over the paths p from an input i to the output k, A_k(x) = Σ_p a_p(x) x_i², a_p = 1 where every activation
    on the path is on, and B_k = Σ_p Π w². By Cauchy and Schwarz the sum of dR/dw² over all weights is no less
    than the kernel's trace. A is computed by a copy of the network whose weights are all one, for squared inputs, with
    its activations on where the network's own are (in `mode`); B by a copy with squared weights, for an all-ones
    input. Biases and shifts start no path and are left out; labels are not read. Scores are positive, and those of a
    layer that all paths cross add up to R: no layer loses all weights while others keep theirs.
    Outputs may lose all: A_k and B_k both shrink with the paths to k, so that over the iterations outputs with many
    paths gain on the others. Behind pooled features, outputs share all paths but the last step; behind a flattened map
    they do not.

    Scores are float64. Differences to the authors' program are listed in docs/names.md.
    """
    weights = prunable(model)
    parameters = {name: p.detach().double() for name, p in model.named_parameters()}
    paths = {name: torch.zeros_like(p) if name.endswith("bias") else p.square() for name, p in parameters.items()}
    ones = {name: (p != 0).double() if name in weights else torch.ones_like(p) for name, p in paths.items()}
    ones |= {name: p for name, p in paths.items() if name.endswith("bias")}
    device = next(iter(paths.values())).device
    squares = [paths[name].requires_grad_() for name in weights]
    seed = noise(generator)
    data: Tensor | float = 0.0
    for inputs, _ in batches:
        for part in micro_batches(model, inputs, [mode, "eval"]):
            x = inputs[part].to(device)
            with passes(model, mode, seed), torch.no_grad(), Patterns() as patterns:
                call(model, {}, x)
            with passes(model, "eval", seed), torch.no_grad(), LinearFlow(0, patterns.seen):
                data = data + call(model, ones, x.double().square()).sum(0)
    with passes(model, "eval", seed), LinearFlow(2):
        flow = call(model, paths, torch.ones(1, *batches[0][0].shape[1:], dtype=torch.float64, device=device))[0]
        slopes = torch.autograd.grad((flow * data).sum(), squares, materialize_grads=True)
    return {name: square.detach() * slope for name, square, slope in zip(weights, squares, slopes, strict=True)}


PX = Pruner(
    score=score,
    summary="w² dR/dw², R an upper bound of the trace of the data's neural tangent kernel",
    paper="Iurada et al. 2024, Finding Lottery Tickets in Vision Models via Data-driven Spectral Foresight Pruning",
    needs_data=True,
    schedule="exponential",
    iterations=100,
)
