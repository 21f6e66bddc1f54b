"""What compaction buys: parameters, MACs and latency before and after, and what it changes of the logits.

    python -m benchmarks.compaction [--pruners random magnitude synflow] [--compressions 10 100 1000]
    python -m benchmarks.compaction --networks vit-tiny    # without half of its heads and of its hidden units

Every network has batch norm statistics, shifts and scales as after training. Logits are those of 16 random inputs;
their difference is the largest of all, as a share of the largest logit, in eval / in train mode. It is rounding where
it vanishes in float64, and no more than the masked network's own in float32: its logits there against those in
float64, "own rounding". Latency is of 64 inputs, in eval mode, measured in pairs.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator

import torch
import torchvision
from torch import Tensor, nn

from pruners import PruningError, apply_masks, compact, prune
from trainables.architectures import build
from trainables.profiling import latency, macs

SHAPE = (3, 32, 32)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: build("mlp", SHAPE, 10, seed=0),
    "conv": lambda: build("conv", SHAPE, 10, seed=0),
    "resnet20": lambda: build("resnet20", SHAPE, 10, seed=0),
    "vgg16-bn": lambda: build("vgg16-bn", SHAPE, 10, seed=0),
    "vit-tiny": lambda: build("vit-tiny", SHAPE, 10, seed=0),
    "torchvision resnet18": lambda: torchvision.models.resnet18(num_classes=10),
    "torchvision resnet50": lambda: torchvision.models.resnet50(num_classes=10),
    "torchvision densenet121": lambda: torchvision.models.densenet121(num_classes=10),
    "torchvision vgg16_bn": lambda: torchvision.models.vgg16_bn(num_classes=10, dropout=0.0),
    "torchvision mobilenet_v2": lambda: torchvision.models.mobilenet_v2(num_classes=10, dropout=0.0),
}


def trained_looking(model: nn.Module) -> nn.Module:
    """`model` with statistics, shifts and scales in its batch norms that are not those of the start."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def logits(model: nn.Module, x: Tensor) -> list[Tensor]:
    """In eval and in train mode, in the precision of `x`, as float64."""
    with torch.no_grad():
        return [copy.deepcopy(model).to(x).train(training)(x).double() for training in (False, True)]


def differences(masked: nn.Module, small: nn.Module, x: Tensor) -> Iterator[str]:
    """Of the logits, as shares of the largest: in float32; masked alone, float32 to float64; in float64."""
    single, double = logits(masked, x), logits(masked, x.double())
    for left, right in ((single, logits(small, x)), (single, double), (double, logits(small, x.double()))):
        shares = [
            float((a - b).abs().max() / whole.abs().max().clamp(min=1e-30))
            for a, b, whole in zip(left, right, double, strict=True)
        ]
        yield " / ".join(f"{share:.0e}" for share in shares)


def rows(name: str, pruner: str, granularity: str, compressions: list[float]) -> Iterator[tuple[str, ...]]:
    """A row of the table per compression."""
    torch.manual_seed(0)
    model = trained_looking(NETWORKS[name]())
    batches = [(torch.randn(16, *SHAPE), torch.arange(16) % 10)]
    for compression in compressions:
        title = (name, f"{pruner}, {granularity}", f"{compression:g}x")
        iterations = 10 if pruner == "synflow" else None
        try:
            masks = prune(model, pruner, compression, batches, granularity=granularity, iterations=iterations)
        except PruningError as error:
            yield *title, str(error)
            continue
        yield *title, *compared(model, masks, batches[0][0])


def halved(name: str) -> tuple[str, ...]:
    """The row of a transformer without the half of its heads, and of its hidden units, of smallest weights."""
    torch.manual_seed(0)
    model = trained_looking(NETWORKS[name]())
    halves = [prune(model, "magnitude", granularity=unit, kappa=0.5) for unit in ("head", "neuron")]
    masks = {weight: halves[0][weight] & halves[1][weight] for weight in halves[0]}
    return name, "magnitude, head and neuron", "half", *compared(model, masks, torch.randn(16, *SHAPE))


def compared(model: nn.Module, masks: dict[str, Tensor], x: Tensor) -> Iterator[str]:
    """Parameters, MACs and latency of a masked network before and after, and the differences of its logits."""
    compacted = compact(model, masks, SHAPE)
    masked, small = copy.deepcopy(model), compacted.model
    apply_masks(masked, masks)
    counts = (
        lambda net: sum(p.numel() for p in net.parameters()),
        lambda net: sum(map(sum, macs(net, SHAPE).values())),
    )
    for count in counts:
        yield f"{count(model) / 1e6:.3f} -> {count(small) / 1e6:.3f}"
    times = latency(model, small, SHAPE)
    yield f"{times.dense_ms:.1f} -> {times.ms:.1f} ({times.speedup:.2f}x)"
    yield from [compacted.reason] if compacted.reason else differences(masked, small, x)


def main() -> None:
    """Run and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    parser.add_argument("--pruners", nargs="+", default=["random", "magnitude", "snip", "synflow"], metavar="NAME")
    parser.add_argument("--granularities", nargs="+", default=["weight", "filter"], metavar="NAME")
    parser.add_argument("--compressions", nargs="+", default=[10.0, 100.0], type=float, metavar="X")
    args = parser.parse_args()
    torch.set_num_threads(1)
    header = "network", "pruner", "compression", "M parameters", "M MACs", "ms"
    header += "difference in float32", "own rounding", "difference in float64"
    print("\n| " + " | ".join(header) + " |\n" + "| --- " * len(header) + "|")
    for name in args.networks:
        if name == "vit-tiny":
            print("| " + " | ".join(halved(name)) + " |", flush=True)
            continue
        for pruner in args.pruners:
            for granularity in args.granularities:
                for row in rows(name, pruner, granularity, args.compressions):
                    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
