"""Tiny-ImageNet (Stanford CS231n): 200 classes of ImageNet, 64x64.

Tested on its validation set, because its test set has no labels.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile, ZipFile

from trainables.datasets.augmentation import AUGMENTATIONS
from trainables.datasets.images import flat, image_files
from trainables.datasets.pixels import decode
from trainables.datasets.sources import check_md5
from trainables.datasets.spec import Arrays, DatasetError, DatasetSpec

FOLDER = "tiny-imagenet-200"
ARCHIVE = f"{FOLDER}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
URL = f"http://cs231n.stanford.edu/{ARCHIVE}"
SHAPE = (3, 64, 64)


def _read(files: tuple[Path, ...] | None, scratch: Path) -> Arrays:
    if files is None:
        from torchvision.datasets.utils import download_url

        download_url(URL, scratch, ARCHIVE, MD5)
        files = (scratch / ARCHIVE,)
    if files[0].name == ARCHIVE:
        check_md5(files[0], MD5)
        unpack(files[0], scratch)
        root = scratch / FOLDER
    else:
        root = files[0].parent
    return read_folder(root, scratch)


def unpack(archive: Path, to: Path) -> None:
    """Unpack the labelled part of the zip.

    Raises:
        DatasetError: if the file is not a whole zip.
    """
    try:
        with ZipFile(archive) as packed:
            packed.extractall(to, [name for name in packed.namelist() if not name.startswith(f"{FOLDER}/test/")])
    except BadZipFile as error:
        raise DatasetError(f"dataset: {archive} is corrupt: {error}") from error


def read_folder(root: Path, scratch: Path) -> Arrays:
    """Return all labelled images of the unpacked folder `root`, decoded into the folder `scratch`.

    Raises:
        DatasetError: if a class has no images, or the annotations do not name exactly the images of `val`.
    """
    classes = sorted((root / "wnids.txt").read_text(encoding="utf-8").split())
    train, train_y = flat(_images(root / "train" / name / "images") for name in classes)
    labels = _annotations(root / "val" / "val_annotations.txt")
    found = {Path(path).name: path for path in _images(root / "val" / "images")}
    for name in sorted(labels.keys() ^ found.keys()):
        folder = root / "val" / "images"
        raise DatasetError(f"dataset: {folder / name} " + ("is missing" if name in labels else "is not annotated"))
    by_class: dict[str, list[str]] = {name: [] for name in classes}
    for name, label in sorted(labels.items()):
        if label not in by_class:
            raise DatasetError(f"dataset: {root / 'val' / 'val_annotations.txt'}: class {label} of {name} is unknown")
        by_class[label].append(found[name])
    test, test_y = flat(by_class.values())
    return Arrays(
        decode(train, SHAPE, scratch / "train.npy"), train_y, decode(test, SHAPE, scratch / "test.npy"), test_y
    )


def _images(folder: Path) -> list[str]:
    files = image_files(folder)
    if not files:
        raise DatasetError(f"dataset: {folder} has no images")
    return files


def _annotations(file: Path) -> dict[str, str]:
    """Return the class of each validation image; each line has name, class, and a box, which is not used."""
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    if any(len(row) < 2 for row in rows):
        raise DatasetError(f"dataset: {file} is corrupt: expected lines of image, class and box, with tabs between")
    return {row[0]: row[1] for row in rows}


TINY_IMAGENET = DatasetSpec(
    name="tiny-imagenet",
    summary="photographs of 200 kinds of things, 64x64 colour",
    input_shape=SHAPE,
    num_classes=200,
    train_size=100_000,
    test_size=10_000,
    smallest_class=500,
    mean=(0.4802, 0.4481, 0.3975),
    std=(0.2770, 0.2691, 0.2821),
    read=_read,
    layouts=((f"{FOLDER}/wnids.txt", f"{FOLDER}/val/val_annotations.txt"), (ARCHIVE,)),
    url=URL,
    augment=AUGMENTATIONS["pad8-flip"],
)
