"""Multiply-accumulates and parameters of torchvision's classification models: ours beside torchvision's published ones.

    python -m benchmarks.macs [NAME ...]

Counted without numbers (on the meta device), in eval mode, at the size that torchvision's weights are for. Exit code 1
if one differs by more than 1 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights

from trainables.profiling import macs

BOUND = 0.01
WITHOUT_AUX = ("googlenet",)  # its published count is without the heads that only training uses


@dataclass(frozen=True)
class Row:
    """One model: multiply-accumulates in G, parameters, and the side of its square input."""

    name: str
    size: int
    macs: float
    macs_published: float
    params: int
    params_published: int

    @property
    def agrees(self) -> bool:
        """Return True if both differ by at most 1 %, and by the rounding of what is published."""
        rounding = 0.0005  # of G: torchvision gives three digits behind the point
        return (
            abs(self.macs - self.macs_published) <= BOUND * self.macs_published + rounding
            and abs(self.params - self.params_published) <= BOUND * self.params_published
        )


def names() -> list[str]:
    """Return the names of all of torchvision's classification models."""
    return torchvision.models.list_models(module=torchvision.models)


def measure(name: str) -> Row:
    """Count one model, on the meta device or, where it needs numbers, with them."""
    weights = next(iter(get_model_weights(name)))
    size = weights.transforms().crop_size[0]
    try:
        with torch.device("meta"):
            model = _built(name, size)
            counts = macs(model, (3, size, size))
    except (RuntimeError, NotImplementedError):
        model = _built(name, size)
        counts = macs(model, (3, size, size))
    total = sum(map(sum, counts.values())) / 1e9
    params = sum(parameter.numel() for parameter in model.parameters())
    return Row(name, size, total, weights.meta["_ops"], params, weights.meta["num_params"])


def _built(name: str, size: int) -> nn.Module:
    options: dict[str, int] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    options |= {"image_size": size} if name.startswith("vit_") else {}
    options |= {"aux_logits": False} if name in WITHOUT_AUX else {}
    model: nn.Module = get_model(name, **options)
    return model.eval()


def table(rows: Iterator[Row]) -> Iterator[str]:
    """Yield the lines of a Markdown table, and last how many models agree."""
    yield "| model | input | MACs (G) | published | | parameters | published | |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    done = []
    for row in rows:
        done.append(row)
        yield (
            f"| {row.name} | {row.size} | {row.macs:.3f} | {row.macs_published:.3f} | "
            f"{row.macs / row.macs_published - 1:+.2%} | {row.params:,} | {row.params_published:,} | "
            f"{row.params / row.params_published - 1:+.2%} |{'' if row.agrees else ' differs'}"
        )
    yield ""
    yield f"{sum(row.agrees for row in done)} of {len(done)} models agree within {BOUND:.0%}"


def main() -> int:
    """Print the table; returns 1 if a model differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to count (default: all)")
    rows: list[Row] = []
    for line in table(_noted(parser.parse_args().names or names(), rows)):
        print(line, flush=True)
    return 0 if all(row.agrees for row in rows) else 1


def _noted(chosen: list[str], rows: list[Row]) -> Iterator[Row]:
    for name in chosen:
        rows.append(measure(name))
        yield rows[-1]


if __name__ == "__main__":
    sys.exit(main())
