"""Checkpoints: generations of one file, of which the newest readable one counts.

A checkpoint holds weights, optimizer, schedule, progress and masks. Between epochs it needs no random states:
everything random in a trial is drawn from its seed by name and epoch (trainables/randomness.py), so the epoch is the
random state. Within an epoch it holds the position of dropout in its random stream.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar
from zipfile import BadZipFile, ZipFile

import torch
from safetensors import SafetensorError

from pruners.errors import OF_THE_MACHINE
from trainables.record.files import write_atomically

T = TypeVar("T")
CHECKPOINT = "checkpoint.pt"  # a trial's checkpoint, in its folder
KEPT = 2  # generations of a checkpoint: if a disk spoils the newest, the trial goes on from the one before


def save(path: Path, state: dict[str, Any]) -> None:
    """Save tensors, numbers and nested dicts of them as the newest generation of `path`, e.g. checkpoint.7.pt.

    A generation never changes once it has its name, so it is safe to read or copy while the next one is written.
    """
    content = BytesIO()  # torch itself would report a full disk as "unexpected pos", not as an OSError
    torch.save(state, content)
    known = generations(path)
    number = 1 + _number(known[0]) if known else 1
    file = path.with_name(f"{path.stem}.{number}{path.suffix}")
    write_atomically(file, lambda temporary: temporary.write_bytes(content.getbuffer()))
    for old in generations(path)[KEPT:]:
        old.unlink(missing_ok=True)


def load(
    path: Path, device: torch.device, damaged: Callable[[str], object] = lambda name: None
) -> dict[str, Any] | None:
    """Return the state that `save` saved last, on `device`; None if no generation can be read. Executes no pickle.

    A generation that cannot be read is renamed, `damaged` is called with its name, and the one before is read.
    """

    def read(file: Path) -> dict[str, Any]:
        with ZipFile(file) as parts:
            if parts.testzip() is not None:  # torch does not compare checksums
                raise BadZipFile(f"{file} is damaged")
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
        return state

    for file in generations(path):
        if not file.exists():  # a shared folder may list what another node has written before it shows it
            continue
        state = read_or_set_aside(file, lambda file=file: read(file))  # type: ignore[misc]
        if state is not None:
            return state
        damaged(file.name)
    return None


def generations(path: Path) -> list[Path]:
    """Return the generations of `path`, newest first."""
    return sorted(path.parent.glob(f"{path.stem}.*[0-9]{path.suffix}"), key=_number, reverse=True)


def remove(path: Path) -> None:
    """Remove all generations, and temporary files of processes that were killed while they saved."""
    for file in (*generations(path), *path.parent.glob(f".{path.stem}.*{path.suffix}.*")):
        file.unlink(missing_ok=True)


def read_or_set_aside(path: Path, read: Callable[[], T]) -> T | None:
    """Return what `read` reads from `path`; None if the file is missing, or damaged and now renamed.

    The caller then computes the content again.
    """
    if not path.exists():
        return None
    try:
        return read()
    except OF_THE_MACHINE:  # some are RuntimeErrors too, but the file is not damaged
        raise
    except (RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError, BadZipFile):
        path.replace(path.with_name(f"{path.name}.damaged"))
        return None


def _number(file: Path) -> int:
    return int(file.suffixes[-2].removeprefix("."))
