"""The two networks behind the reference numbers in this folder, and what is stored with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent


def mlp() -> nn.Module:
    """Inputs (N, 1, 8, 8), 10 classes, biases everywhere."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 50),
        nn.ReLU(),
        nn.Linear(50, 40),
        nn.ReLU(),
        nn.Linear(40, 10),
    )


def convnet() -> nn.Module:
    """Inputs (N, 3, 16, 16), 10 classes, batch norm after each convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


NETS: dict[str, Callable[[], nn.Module]] = {"mlp": mlp, "convnet": convnet}


def load(net: str, file: str | None = None) -> tuple[nn.Module, list[tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """The float64 network with its reference weights, its two batches, and every stored array by key.

    `file` names another set of weights for the same network (`mlp_itersnip`).
    """
    with np.load(HERE / f"{file or net}.npz") as stored:
        arrays = {key: torch.from_numpy(stored[key]) for key in stored.files}
    model = NETS[net]().double()
    state = {key.removeprefix("state/"): value for key, value in arrays.items() if key.startswith("state/")}
    model.load_state_dict(state)
    return model, [(arrays[f"batch{i}/x"], arrays[f"batch{i}/y"]) for i in (0, 1)], arrays
