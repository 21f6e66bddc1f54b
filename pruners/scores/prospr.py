"""ProsPr: the effect of a weight on the loss after a few training steps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pruners.gradients import batch_loss, differentiable_twice, noise, passes
from pruners.pruner import Batch, Pruner
from pruners.weights import prunable


def score(
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    mode: str,
    generator: torch.Generator,
    masks: Mapping[str, Tensor] | None = None,
    steps: int,
    inner_lr: float,
    momentum: float = 0.0,
) -> dict[str, Tensor]:
    """Return |dL(w_M)/dc| at c = 1, w_0 = c ⊙ w, w_{i+1} = w_i - inner_lr ∇L(w_i) (Alizadeh et al. 2022, section 3).

    M = `steps` of SGD on all parameters. With `momentum` μ a step is along v_i = μ v_{i-1} + ∇L(w_i), and v_0 is a
    constant in the gradient through the steps, as in the authors' program. Step i and the final loss use batch i of
    `batches`, which start again when they run out. The gradient passes through all the steps, so it accounts for what
    training would repair.
    Weights that are already pruned are held at zero in the steps; their score is the effect that their return would
    have. The graphs of all steps are alive at once: memory grows with `steps`.
    """
    weights = prunable(model)
    kept = {name: masks[name].to(w) if masks else torch.ones_like(w) for name, w in weights.items()}
    gates = {name: mask.clone().requires_grad_() for name, mask in kept.items()}
    with passes(model, mode, noise(generator)), differentiable_twice():
        now = {name: parameter.detach().requires_grad_() for name, parameter in model.named_parameters()}
        now |= {name: now[name] * gate for name, gate in gates.items()}
        velocity: list[Tensor] = []
        for step in range(steps):
            loss = batch_loss(model, now, batches[step % len(batches)])
            slopes = torch.autograd.grad(loss, list(now.values()), create_graph=True, materialize_grads=True)
            if momentum:
                pairs = zip(velocity, slopes, strict=True)
                velocity = [momentum * v + g for v, g in pairs] if velocity else [g.detach() for g in slopes]
            now = {
                name: value - inner_lr * along * kept.get(name, 1)
                for (name, value), along in zip(now.items(), velocity or slopes, strict=True)
            }
        loss = batch_loss(model, now, batches[steps % len(batches)])
        meta = torch.autograd.grad(loss, list(gates.values()), materialize_grads=True)
    return {name: slope.abs() for name, slope in zip(gates, meta, strict=True)}


PROSPR = Pruner(
    score=score,
    summary="|dL/dm| through a few steps of SGD: the effect of a weight on the loss soon after the start",
    paper="Alizadeh et al. 2022, Prospect Pruning: Finding Trainable Weights at Initialization using Meta-Gradients",
    needs_data=True,
    takes_masks=True,
    mode="train",
    options={"steps": 3, "inner_lr": 0.1, "momentum": 0.0},
)
