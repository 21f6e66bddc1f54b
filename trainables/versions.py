"""Versions of packages that must be the same on all nodes of a sweep."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

SAME = ("ray", "torch", "torchvision", "pydantic")  # packages that compute trials, and that read their records


@cache
def versions() -> Mapping[str, str]:
    """Return the versions that must be the same on every node. torch's build (+cpu, +cu128) may differ."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in SAME:
        try:
            found[package] = version(package).partition("+")[0]
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def unlike(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Return the first difference as a phrase about `theirs` ("has torch 2.14, but …"); None if there is none."""
    for what, number in ours.items():
        if theirs[what] != number:
            return f"has {what} {theirs[what]}, but here it is {what} {number}"
    return None


def is_installed(package: str) -> bool:
    """Return True if a package can be imported; a mere folder of that name (`datasets/`, say) is none."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
