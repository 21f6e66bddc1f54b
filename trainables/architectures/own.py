"""Network of the user's own, from a Python file: `my_file.py:build`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pruners.custom import load_object
from search_spaces import SpaceError
from trainables.architectures.architecture import PLAIN, Architecture
from trainables.architectures.global_state import own_draws


def own(name: str, code: str = "") -> Architecture:
    """Return the architecture of the function `path/to/file.py:NAME`; `code`, if given, is the text of that file.

    The function is called as NAME(input_shape, num_classes, **options) and returns an nn.Module that maps images
    [N, C, H, W] to logits [N, num_classes]. Its further arguments are the options that a space may set, and must have
    defaults. It may draw from the global generators of torch, numpy and Python, which are seeded.

    Raises:
        ValueError: if the file or the name cannot be loaded, or NAME is no such function.
    """
    try:
        with own_draws(0, "import"):
            build = load_object(name, "Architecture", code)
    except ValueError as error:
        raise SpaceError(f"architecture: {error}") from None
    if not callable(build):
        raise SpaceError(f"architecture: '{name}' is of type {type(build).__name__}; it must be a function")
    place, _, wanted = name.rpartition(":")
    summary = (inspect.getdoc(build) or f"{wanted} of {Path(place).name}").splitlines()[0]
    _require_options(name, build)
    return Architecture(build, summary, min_size=1)


def _require_options(name: str, build: Callable[..., Any]) -> None:
    try:
        parameters = list(inspect.signature(build).parameters.values())
    except (TypeError, ValueError):  # some callables written in C do not describe their arguments
        raise SpaceError(f"architecture: '{name}' must take (input_shape, num_classes, **options)") from None
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(named) < 2 or any(p.kind is p.KEYWORD_ONLY for p in named[:2]):
        raise SpaceError(f"architecture: '{name}' must take (input_shape, num_classes, **options)")
    for option in named[2:]:
        if not isinstance(option.default, PLAIN):
            raise SpaceError(
                f"architecture: option '{option.name}' of '{name}' must have a number, text, true or false as default"
            )
