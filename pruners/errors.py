"""Error and warning of this package, the check for unknown names, and the wording of other libraries' errors."""

from collections.abc import Iterable

import torch

from search_spaces.errors import nearest

# Errors of the machine, not of the network: the same computation may succeed on another machine or later.
OF_THE_MACHINE = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if a GPU ran out of memory: torch has an error class for it, CUDA and its libraries only messages."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "CUDA error: out of memory" in said
        or any(f"{library}_STATUS_ALLOC_FAILED" in said for library in ("CUBLAS", "CUDNN", "CUSPARSE"))
    )


class PruningError(ValueError):
    """Error for a request or a score that gives no mask; the message says what is wrong, where, and what is allowed."""


class PruningWarning(UserWarning):
    """Warning that masks were drawn but mean less than expected, for instance because many scores tie."""


def in_one_line(error: BaseException) -> str:
    """Return an error's type and message in one line: `ValueError: it has no layer`."""
    return f"{type(error).__name__}: {message_of(error)}"


def message_of(error: BaseException) -> str:
    """Return an error's message in one line; of a GPU's error only its first line, as the rest is torch's advice."""
    said = str(error)
    return " ".join((said.partition("\n")[0] if isinstance(error, torch.AcceleratorError) else said).split())


def require_known(kind: str, name: object, allowed: Iterable[str]) -> None:
    """Raise PruningError, with the nearest spelling if there is one, unless `name` is one of `allowed`."""
    names = list(allowed)
    if name in names:
        return
    near = nearest(name, names)
    hint = f" Did you mean {near!r}?" if near else ""
    choices = f"choose one of {', '.join(names)}" if names else f"no {kind} is accepted here"
    raise PruningError(f"Unknown {kind} {name!r}: {choices}.{hint}")
