"""Sources of datasets: find and check their files, and ask whether a server has a download."""

from __future__ import annotations

import shutil
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from trainables.datasets.spec import DatasetError, DatasetSpec


def locate(spec: DatasetSpec, *roots: Path | None) -> tuple[Path, ...] | None:
    """Return all files (or folders) of one of the dataset's layouts, from the first root that has any; else None.

    Raises:
        DatasetError: if a root has only a part of them: the user who put it there wants it to be used.
    """
    for root in filter(None, roots):
        missing = None
        for layout in spec.layouts:
            files = tuple(root / file for file in layout)
            absent = [file for file in files if not file.exists()]
            if not absent:
                return files
            if len(absent) < len(files):
                missing = absent[0]
        if missing:
            raise DatasetError(f"dataset: '{spec.name}' is incomplete: {missing} is missing")
    return None


def reachable(url: str) -> bool:
    """Return True if a server has something at `url`, asked in the same way as a download, proxies included."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=5):
            return True
    except (OSError, HTTPException):
        return False


def copy_checked(file: Path, md5: str, to: Path) -> None:
    """Copy a packed file, after `check_md5`, into the folder `to`, where it may be unpacked."""
    check_md5(file, md5)
    to.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, to / file.name)


def check_md5(file: Path, md5: str) -> None:
    """Raise a DatasetError unless the md5 of `file` is that of the published file."""
    from torchvision.datasets.utils import check_integrity

    if not check_integrity(file, md5):
        raise DatasetError(f"dataset: {file} is corrupt: expected the published file, md5 {md5}")
