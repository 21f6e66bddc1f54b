"""Files that are either complete or not there: written beside, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, make it durable, and give it the name `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # a rename may reach the disk before the data it names
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(path: Path, state: dict[str, Any]) -> None:
    """Save tensors, numbers and nested dicts of them."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What `save` saved, on `device`, or None if there is nothing. No pickle is executed."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
