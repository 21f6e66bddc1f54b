"""Every architecture at a dataset's size: parameters, multiply-accumulates, prunable layers.

    python -m benchmarks.architectures [DATASET] [NAME ...]

Counted on networks without numbers, so the largest costs as little as the smallest. Names may also be of other
libraries: torchvision/resnet50.
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table

from pruners import prunable
from trainables.architectures import ARCHITECTURES, build, lookup
from trainables.datasets import lookup as dataset
from trainables.profiling import macs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="?", default="cifar10")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    spec = dataset(args.dataset)
    table = Table(title=f"on {spec.name}: {'x'.join(map(str, spec.input_shape))}", box=None, title_justify="left")
    for head in ("architecture", "parameters", "prunable weights", "MACs", "prunable layers"):
        table.add_column(head, justify="left" if head == "architecture" else "right")
    for name in args.names or ARCHITECTURES:
        if min(spec.input_shape[1:]) < lookup(name).min_size:
            continue
        with torch.device("meta"):
            model = build(name, spec.input_shape, spec.num_classes, seed=0).eval()
        weights = prunable(model)
        params = sum(parameter.numel() for parameter in model.parameters())
        total = sum(map(sum, macs(model, spec.input_shape).values()))
        kept = sum(weight.numel() for weight in weights.values())
        table.add_row(name, f"{params:,}", f"{kept:,}", f"{total:,}", str(len(weights)))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
