"""ImageNet (ILSVRC 2012) in torchvision's layout or as distributed. Read in place, never copied.

Tested on its validation set, because its test set has no labels.
"""

from __future__ import annotations

from pathlib import Path

from trainables.datasets.augmentation import AUGMENTATIONS
from trainables.datasets.images import by_class, flat, hidden, image_files
from trainables.datasets.spec import DatasetError, DatasetSpec, Files

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
DEVKIT = "ILSVRC2012_devkit_t12/data"


def _index(found: tuple[Path, ...] | None) -> Files:
    if found is None:
        raise DatasetError("dataset: 'imagenet' is not on disk (expected imagenet/train and imagenet/val)")
    files = list_images(*found)
    if (len(files.train), len(files.test)) != (IMAGENET.train_size, IMAGENET.test_size):
        raise DatasetError(
            f"dataset: {found[0].parent} has {len(files.train)} + {len(files.test)} images, expected all "
            f"{IMAGENET.train_size} + {IMAGENET.test_size} of 'imagenet'; name a part of it as folder:PATH"
        )
    return files


def list_images(train: Path, val: Path) -> Files:
    """Return all labelled images of `train`/WNID/… and of `val`/WNID/… or `val`.

    If the 50 000 images of `val` are not in folders by class, the development kit gives their classes.

    Raises:
        DatasetError: if the two do not have the same classes, or the classes of images are unknown.
    """
    classes = by_class(train)
    if any(entry.is_dir() and not hidden(entry.name) for entry in val.iterdir()):
        tested = by_class(val)
    else:
        tested = _sorted_out(image_files(val), val.parent / DEVKIT)
    for wnid in sorted(classes.keys() ^ tested.keys()):
        raise DatasetError(f"dataset: {(val if wnid in classes else train) / wnid} is missing")
    return Files(*flat(classes.values()), *flat(tested[wnid] for wnid in classes))


def _sorted_out(images: list[str], kit: Path) -> dict[str, list[str]]:
    """Return the validation images by class: line i of the kit's ground truth is the class of image i, by name."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(kit / "meta.mat", squeeze_me=True)["synsets"]
        wnids = {int(number): str(wnid) for number, wnid in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)}
        truth = [wnids[int(line)] for line in (kit / TRUTH).read_text(encoding="utf-8").split()]
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"dataset: the validation images are not in folders by class, and {kit} cannot sort them (expected "
            f"meta.mat and {TRUTH}): {error}"
        ) from error
    if len(truth) != len(images):
        raise DatasetError(f"dataset: {kit / TRUTH} has {len(truth)} lines for {len(images)} validation images")
    found: dict[str, list[str]] = {}
    for wnid, image in zip(truth, images, strict=True):
        found.setdefault(wnid, []).append(image)
    return found


IMAGENET = DatasetSpec(
    name="imagenet",
    summary="photographs of a thousand kinds of things, cut to 224x224 colour; streamed",
    input_shape=(3, 224, 224),
    num_classes=1000,
    train_size=1_281_167,
    test_size=50_000,
    smallest_class=732,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    index=_index,
    augment=AUGMENTATIONS["resized-crop-flip"],
    layouts=(("imagenet/train", "imagenet/val"), ("train", "val")),
)
