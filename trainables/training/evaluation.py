"""Loss and accuracy of a model on a test set, and folding of batch norms into the layers before them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pruners.channels import Norm, PrunableLayer, UnfollowableError, trace_channels
from pruners.float32 import ieee_float32
from trainables.distributed import ALONE, Team
from trainables.record.predictions import Predictions


class PredictionRecorder:
    """Recorder of the predictions of a test; the last one counts.

    It keeps what a test computes in any case, and puts it together after the last batch: no step waits for it.
    """

    def __init__(self) -> None:
        """Start without any test."""
        self.begin()

    def begin(self) -> None:
        """Forget the tests so far, also one that was broken off."""
        self._best: list[Tensor] = []
        self._hits: list[Tensor] = []
        self._whole: Tensor | None = None

    def add(self, best: Tensor, hits: Tensor) -> None:
        """Add a batch: the classes of its highest logits int64 [B, k], best first, and which of them are right."""
        self._best.append(best)
        self._hits.append(hits)

    def finish(self, team: Team) -> None:
        """End the test, on all workers of a team; their parts of the images follow each other in the order of ranks."""
        hits = torch.cat(self._hits)
        part = 4 * torch.cat(self._best)[:, 0] + 2 * hits.any(1) + hits[:, 0]  # one number per image
        self._best, self._hits, self._whole = [], [], part
        if team.size > 1:
            sizes = [int(size) for size in team.gather(part.new_tensor([len(part)]))[:, 0].tolist()]
            start = sum(sizes[: team.rank])
            self._whole = part.new_zeros(sum(sizes))
            self._whole[start : start + len(part)] = part
            team.sum(self._whole)

    def result(self, dataset: str, digest: str) -> Predictions | None:
        """Return the predictions of the last test, which was on the test set of that name and digest; None if none."""
        if self._whole is None:
            return None
        whole = self._whole.cpu().numpy()
        return Predictions(dataset, digest, (whole & 1).astype(bool), (whole & 2).astype(bool), whole >> 2)


@ieee_float32()
@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    team: Team = ALONE,
    recorder: PredictionRecorder | None = None,
) -> dict[str, float]:
    """Return mean cross-entropy, top-1 and top-5 accuracy (fractions) over all examples of `batches`.

    Computed in IEEE float32, whatever the process has set for training.
    `batches` yields inputs (N, C, H, W) and class numbers (N,). The model is left in eval mode.
    With fewer than five classes top-5 means any class. Each worker of a `team` has its own batches; all workers get the
    result over all batches. A `recorder` receives the predictions of the same forward passes.

    Raises:
        ValueError: if there are no batches.
    """
    model.eval()
    if recorder:
        recorder.begin()
    totals: Tensor | int = 0
    count = 0
    for x, y in batches:
        logits = model(x)
        loss = F.cross_entropy(logits, y, reduction="sum")
        best = logits.topk(min(5, logits.shape[1])).indices
        hits = best == y[:, None]
        # Sums stay on the device and are read once at the end: reading a number per batch would make a GPU wait.
        totals = totals + torch.stack([loss.double(), hits[:, 0].sum().double(), hits.sum().double()])
        count += len(y)
        if recorder:
            recorder.add(best, hits)
    if not isinstance(totals, Tensor):
        raise ValueError("evaluate: there are no batches")
    loss_sum, top1, top5, count = team.sum(torch.cat([totals, totals.new_tensor([count])])).tolist()
    if recorder:
        recorder.finish(team)
    return {"loss": loss_sum / count, "top1": top1 / count, "top5": top5 / count}


LayerAndNorm = tuple[str, str]  # names of a layer and of the batch norm that reads its output
PLAIN = {nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def foldable(model: nn.Module) -> list[LayerAndNorm]:
    """Return the pairs of a layer that is used once and the batch norm that is its only reader.

    None are returned if the model cannot be traced. Both modules must compute what their class does, from tensors of
    their own: no subclasses (parametrized layers are subclasses), no hooks, no forward replaced on the instance, no
    weights shared with another layer. This must hold in train mode and in eval mode. The model's mode is restored.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        training = _pairs(model.train())
        evaluated = set(_pairs(model.eval())) if training else set()
    except UnfollowableError:
        return []
    finally:
        for module, was in modes:
            module.training = was
    return [pair for pair in training if pair in evaluated]


def _pairs(model: nn.Module) -> list[LayerAndNorm]:
    """Return the foldable pairs in the mode that `model` is in."""
    steps = trace_channels(model).steps
    names = {module: name for name, module in model.named_modules()}
    made = {step.name: step for step in steps}
    read = Counter(source for step in steps for source in step.sources)
    used = Counter(id(step.module) for step in steps)
    owners = Counter(memory_of(tensor) for module in model.modules() for tensor in _tensors(module))
    pairs = []
    for step in steps:
        if not isinstance(step.module, Norm) or step.module.running_mean is None:
            continue
        (source,) = step.sources
        layer = made[source].module
        if not isinstance(layer, PrunableLayer) or not _is_plain(layer) or not _is_plain(step.module):
            continue
        alone = all(owners[memory_of(tensor)] == 1 for module in (layer, step.module) for tensor in _tensors(module))
        if alone and read[source] == used[id(layer)] == used[id(step.module)] == 1:
            pairs.append((names[layer], names[step.module]))
    return pairs


def _is_plain(module: nn.Module) -> bool:
    """Return True if calling `module` runs its class's forward and nothing else."""
    own = vars(module)
    return type(module) in PLAIN and "forward" not in own and not any(own.get(kind) for kind in HOOKS)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield the parameters and buffers of `module` itself."""
    return (tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None)


def memory_of(tensor: Tensor) -> int:
    """Return an identifier of the tensor's storage, equal for parameters that are views of the same memory."""
    return int(tensor.untyped_storage()._cdata)


def folded(model: nn.Module, pairs: list[LayerAndNorm]) -> nn.Module:
    """Return a copy of `model` in eval mode with the batch norms of `pairs` folded; equal up to rounding.

    Without pairs `model` itself is returned, in eval mode.
    """
    if not pairs:
        return model.eval()
    result = copy.deepcopy(model).eval()
    for of_layer, of_norm in pairs:
        layer, norm = result.get_submodule(of_layer), result.get_submodule(of_norm)
        assert isinstance(layer, PrunableLayer) and isinstance(norm, Norm)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = (norm.running_var + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.detach()
        shift = -norm.running_mean if layer.bias is None else layer.bias.detach() - norm.running_mean
        shift = shift * scale if norm.bias is None else shift * scale + norm.bias.detach()
        layer.weight.data.mul_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias = nn.Parameter(shift, requires_grad=False)
        owner, _, key = of_norm.rpartition(".")
        setattr(result.get_submodule(owner), key, nn.Identity())
    return result
