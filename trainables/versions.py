"""What must be the same wherever trials of one sweep run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

SAME = ("ray", "torch", "torchvision", "pydantic")  # what trials compute with, and what their records are read by


@cache
def versions() -> Mapping[str, str]:
    """Of all that must be the same on every node. torch's build (+cpu, +cu128) may differ, its version not."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in SAME:
        try:
            found[package] = version(package).partition("+")[0]
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def unlike(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """What differs first, to be said of `theirs`; None if nothing does."""
    for what, number in ours.items():
        if theirs[what] != number:
            return f"has {what} {theirs[what]}, but here it is {what} {number}"
    return None
