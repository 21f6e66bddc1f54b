"""Files that are either complete or not there: written beside, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar
from uuid import uuid4

import torch
from safetensors import SafetensorError

T = TypeVar("T")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, make it durable, and give it the name `path`."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")  # a process id is not unique across nodes
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
    """What `save` saved, on `device`, or None if there is nothing that can be read. No pickle is executed."""

    def read() -> dict[str, Any]:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        return state

    return read_or_set_aside(path, read)


def read_or_set_aside(path: Path, read: Callable[[], T]) -> T | None:
    """What `read` reads from `path`; None if it is not there, or damaged: then it is renamed, and computed anew."""
    if not path.exists():
        return None
    try:
        return read()
    except (RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError):
        path.replace(path.with_name(f"{path.name}.damaged"))
        return None
