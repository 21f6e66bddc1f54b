"""The one error this package raises on purpose, how it words an unknown name, and how others' errors are told."""

from collections.abc import Iterable
from difflib import get_close_matches

import torch

# What is never taken for a property of a network: elsewhere, or later, the same computation succeeds.
OF_THE_MACHINE = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if a GPU had too little memory: torch says so in one way, CUDA and its libraries in others."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "CUDA error: out of memory" in said
        or any(f"{library}_STATUS_ALLOC_FAILED" in said for library in ("CUBLAS", "CUDNN", "CUSPARSE"))
    )


class PruningError(ValueError):
    """A request or a score that cannot lead to a mask; the message says what, where and what is allowed."""


class PruningWarning(UserWarning):
    """Masks were drawn, but by less than one would think: many scores tie, for instance."""


def in_one_line(error: BaseException) -> str:
    """What went wrong, with its kind: `ValueError: it has no layer`."""
    return f"{type(error).__name__}: {words(error)}"


def words(error: BaseException) -> str:
    """Return what an error says, in one line. Of a GPU's error its first: others are torch's advice."""
    said = str(error)
    return " ".join((said.partition("\n")[0] if isinstance(error, torch.AcceleratorError) else said).split())


def require_known(kind: str, name: object, allowed: Iterable[str]) -> None:
    """Raise PruningError unless `name` is one of `allowed`, with the nearest spelling if there is one."""
    names = list(allowed)
    if name in names:
        return
    near = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    choices = f"choose one of {', '.join(names)}" if names else f"no {kind} is accepted here"
    raise PruningError(f"Unknown {kind} {name!r}: {choices}.{hint}")
