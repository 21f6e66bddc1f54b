"""A shared folder that shows a node late what another node has appended, as GlusterFS and NFS do by default.

It stands between Python and the disk: the file itself is whole, and only this process sees less of it, for as many
looks as a test says. So a look at the size and a look at the content, or two looks at the content, may disagree.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class LateFolder:
    """What this process sees of files: all of it, unless a test says otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._shown: dict[Path, Iterator[int | None]] = {}
        self._open, self._stat = Path.open, Path.stat
        late = self

        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            seen = late._look(path) if mode == "rb" else None
            if seen is None:
                return late._open(path, mode, *args, **kwargs)
            with late._open(path, "rb") as file:
                return io.BytesIO(file.read(seen))

        def exists(path: Path) -> bool:
            return late._look(path) != -1 and os.access(path, os.F_OK)  # Path.exists would look a second time, by stat

        def stat(path: Path, *args: Any, **kwargs: Any) -> os.stat_result:
            found = late._stat(path, *args, **kwargs)
            seen = late._look(path)
            if seen is None:
                return found
            if seen < 0:
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return os.stat_result([*found[:6], min(seen, found.st_size), *found[7:10]])

        monkeypatch.setattr(Path, "open", opened)
        monkeypatch.setattr(Path, "stat", stat)
        monkeypatch.setattr(Path, "exists", exists)

    def show(self, path: Path, *looks: int) -> None:
        """Show only so many bytes of `path` at each of the next looks (-1: no such file), and then all of it."""
        self._shown[path] = iter(looks)

    def show_for_ever(self, path: Path, size: int) -> None:
        """Show no more than the first `size` bytes of `path`, however often one looks."""
        self._shown[path] = iter(lambda: size, None)

    def _look(self, path: Path) -> int | None:
        return next(self._shown[path], None) if path in self._shown else None
