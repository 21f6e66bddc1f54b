"""Made-up image files for tests, laid out as the published sets are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

Size = tuple[int, int]  # width, height


def write_image(path: Path, size: Size = (16, 12), seed: int = 0, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    shape = (height, width) if mode == "L" else (height, width, 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def write_folder(root: Path, train: int = 6, test: int = 2, sizes: tuple[Size, ...] = ((16, 12),), mode: str = "RGB"):
    """`root`/train and `root`/val with classes cat and dog; sizes in turn."""
    seed = 0
    for part, count in (("train", train), ("val", test)):
        for label in ("cat", "dog"):
            for i in range(count):
                write_image(root / part / label / f"{i}.png", sizes[i % len(sizes)], seed, mode)
                seed += 1
    return root


def write_tiny_imagenet(root: Path, per_class: int = 2) -> Path:
    """Two classes instead of 200, in the layout of the zip."""
    folder = root / "tiny-imagenet-200"
    classes = ["n02", "n01"]
    lines = []
    for c, wnid in enumerate(classes):
        for i in range(per_class):
            write_image(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", (64, 64), seed=10 * c + i)
        write_image(folder / "val" / "images" / f"val_{c}.JPEG", (64, 64), seed=c, mode="L" if c else "RGB")
        lines.append(f"val_{c}.JPEG\t{wnid}\t0\t0\t62\t62")
        write_image(folder / "test" / "images" / f"test_{c}.JPEG", (64, 64))
    (folder / "wnids.txt").write_text("\n".join(classes) + "\n")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    return folder
