"""How far a compacted network's logits are from the whole one's, against what `pruners.compaction` tolerates."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.compaction import trained_looking
from benchmarks.gpu.harness import Result, Setting, Verdict, judged
from pruners.compaction import TOLERANCE, compact
from pruners.float32 import ieee_float32, tf32
from pruners.masks import apply_masks
from pruners.prune import find
from search_spaces import Network
from trainables.architectures import build
from trainables.training.fast_paths import laid_out

MARGIN = 10  # times smaller than tolerated, in the float32 that the product checks in
PRUNINGS = (("magnitude", 20.0), ("synflow", 20.0), ("synflow", 100.0))


def compaction(setting: Setting) -> Iterator[Result]:
    """The margin of float32 and of TF32, for each network the worst of several prunings."""
    shape = (1, 8, 8) if setting.small else (3, 32, 32)
    networks = ("conv",) if setting.small else ("resnet20", "resnet56", "resnet110", "vgg16-bn", "mobilenet-v2-cifar")
    for name in networks:
        torch.manual_seed(0)
        network = laid_out(trained_looking(build(Network(name), shape, 10, 0)), shape).cuda()
        pairs = {f"{pruner} {by:g}x": _compacted(network, pruner, by, shape) for pruner, by in PRUNINGS}
        refused = [f"; {how} not compacted: {reason[:80]}" for how, (_, _, reason) in pairs.items() if reason]
        both = {how: (masked, small) for how, (masked, small, _) in pairs.items() if _size(small) < _size(masked)}
        if not both:
            none: Verdict = "FAIL" if refused else "reported"
            yield Result(f"compaction: {name}", none, "no channel was removed" + "".join(refused))
            continue
        x = torch.randn(16, *shape, generator=torch.Generator().manual_seed(0)).cuda()
        worst = []
        for context in (ieee_float32, tf32):
            with context():
                worst.append(max((_difference(masked, small, x), how) for how, (masked, small) in both.items()))
        figures = " and ".join(f"{value:.0e} ({how})" for value, how in worst)
        yield judged(
            f"compaction: {name}",
            worst[0][0] <= TOLERANCE / MARGIN and not refused,
            f"of the largest logit, in float32 and in TF32: {figures}; tolerated {TOLERANCE:g}" + "".join(refused),
        )


def _compacted(
    network: nn.Module, pruner: str, compression: float, shape: tuple[int, int, int]
) -> tuple[nn.Module, nn.Module, str]:
    """Return the network under masks, the compacted one, and why it is none."""
    blank = [(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64))]
    masks = find(network, pruner, compression, blank, iterations=5 if pruner == "synflow" else None).masks
    small = compact(network, masks, shape)
    masked = copy.deepcopy(network)
    apply_masks(masked, masks)
    return masked, small.model, small.reason


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def _difference(masked: nn.Module, small: nn.Module, x: Tensor) -> float:
    """Return the largest difference of two networks' logits, as a share of the largest logit."""
    whole, part = masked.eval()(x), small.eval()(x)
    return float((whole - part).abs().max() / whole.abs().max().clamp(min=1e-30))
