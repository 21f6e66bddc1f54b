"""Image sets of Hugging Face, from disk: where the package `datasets` is installed; else a line says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from image_files import write_folder, write_image
from PIL import Image

from trainables.datasets import DatasetError, hugging_face, load, lookup, resolve
from trainables.versions import is_installed

installed = is_installed("datasets")
needs_package = pytest.mark.skipif(not installed, reason="the package datasets is not installed")


@pytest.fixture(autouse=True)
def look_again(monkeypatch):
    monkeypatch.setattr(hugging_face, "_described", {})


@pytest.mark.skipif(installed, reason="the package datasets is installed")
def test_without_the_package_a_line_says_what_to_install(tmp_path):
    with pytest.raises(DatasetError, match=r"'hf:mnist' needs a package: pip install datasets$"):
        lookup("hf:mnist", tmp_path)


@pytest.mark.skipif(installed, reason="the package datasets is installed")
def test_a_folder_called_datasets_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "datasets").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DatasetError, match="needs a package: pip install datasets"):
        lookup("hf:mnist", tmp_path)


def saved(folder, train=6, test=4, size=(16, 12), **other):
    import datasets

    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])})
    made = datasets.DatasetDict()
    for part, n in {"train": train, "test": test, **other}.items():
        draw = np.random.default_rng(n)
        pictures = [draw.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in range(n)]
        content = {"picture": pictures, "kind": [i % 2 for i in range(n)]}
        made[part] = datasets.Dataset.from_dict(content, features=features)
    made.save_to_disk(folder)
    return folder


@needs_package
def test_a_saved_set_is_read_by_its_types(tmp_path):
    folder = saved(tmp_path / "pets")
    cache = tmp_path / "cache"
    name = resolve(f"hf:{folder}/../pets", None, cache)
    assert name == f"hf:{folder}"
    spec = lookup(name)
    assert (spec.input_shape, spec.num_classes, spec.train_size, spec.test_size) == ((3, 12, 16), 2, 6, 4)
    data = load(name, None, cache, digest=spec.digest)
    pictures = np.random.default_rng(6).integers(0, 256, (6, 12, 16, 3), dtype=np.uint8)
    assert torch.equal(data.train_x, torch.from_numpy(pictures.transpose(0, 3, 1, 2)))
    assert data.test_y.tolist() == [0, 1, 0, 1]


@needs_package
def test_a_folder_of_images_will_do(tmp_path):
    spec = lookup(f"hf:{write_folder(tmp_path / 'pets')}", tmp_path / "cache")
    assert (spec.num_classes, spec.train_size, spec.test_size) == (2, 12, 4)
    assert load(spec.name, None, tmp_path / "cache").train_y.bincount().tolist() == [6, 6]


@needs_package
def test_other_images_have_another_digest(tmp_path):
    one, same, other = (lookup(f"hf:{saved(tmp_path / str(i), train=n)}", tmp_path) for i, n in enumerate((6, 6, 8)))
    assert one.digest == same.digest != other.digest


@needs_package
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path):
    import datasets

    with pytest.raises(DatasetError, match=r"has images of 2 sizes .12x12, 16x12, ….; save it as folder:PATH"):
        root = write_folder(tmp_path / "mixed")
        write_image(root / "train" / "cat" / "9.png", (12, 12))
        lookup(f"hf:{root}", tmp_path / "cache")
    untested = datasets.load_from_disk(saved(tmp_path / "pets"))
    untested.pop("test")
    untested.save_to_disk(tmp_path / "untested")
    with pytest.raises(DatasetError, match="has train, expected train and one of test, validation, val"):
        lookup(f"hf:{tmp_path / 'untested'}", tmp_path / "cache")
    texts = datasets.Dataset.from_dict({"text": ["a"]})
    datasets.DatasetDict({"train": texts, "test": texts}).save_to_disk(tmp_path / "texts")
    with pytest.raises(DatasetError, match="has 0 columns of type Image, expected one"):
        lookup(f"hf:{tmp_path / 'texts'}", tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"hf:.*empty' could not be read: ") as refused:
        lookup(f"hf:{tmp_path / 'empty'}", tmp_path / "cache")
    assert "\n" not in str(refused.value)


def saved_as(folder, pictures, kinds=(0, 1, 0, 1), names=("cat", "dog"), tested=None):
    import datasets

    made = datasets.DatasetDict()
    for part, labels in (("train", names), ("test", tested or names)):
        features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=list(labels))})
        content = {"picture": pictures, "kind": list(kinds)}
        made[part] = datasets.Dataset.from_dict(content, features=features)
    made.save_to_disk(folder)
    return f"hf:{folder}"


@needs_package
@pytest.mark.parametrize(("dtype", "largest"), [(np.uint16, 65535), (np.uint16, 4095), (np.int32, 65535), (float, 1)])
def test_deep_pictures_are_scaled_as_those_of_a_folder(tmp_path, dtype, largest):
    draw = np.random.default_rng(0)
    pictures = [draw.random((12, 16)) for _ in range(4)]
    deep = [Image.fromarray((largest * g).astype(np.float32 if dtype is float else dtype)) for g in pictures]
    data = load(saved_as(tmp_path / "deep", deep), None, tmp_path / "cache")
    assert data.input_shape == (1, 12, 16)
    assert np.abs(data.train_x[:, 0].numpy() - 255 * np.stack(pictures)).max() <= 1.01


@needs_package
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"names": ("cat",), "kinds": (0, 0, 0, 0)}, r"has one class, \['cat'\], expected two or more"),
        ({"tested": ("dog", "cat")}, r"has classes \['cat', 'dog'\] to train on but \['dog', 'cat'\] to test on"),
        ({"kinds": (0, 1, 0, -1)}, "train image 3 has class (-1|None), which has no name"),
        ({"kinds": (0, 1, 0, None)}, "train image 3 has class None, which has no name"),
        ({"missing": True}, "row 3 of column 'picture' holds no image"),
    ],
)
def test_classes_and_images_that_are_missing_are_refused_in_one_line(tmp_path, given, message):
    given = dict(given)
    pictures = [Image.fromarray(np.full((12, 16), 50 * i, np.uint8)) for i in range(4)]
    if given.pop("missing", False):
        pictures[3] = None
    with pytest.raises(DatasetError, match=message) as refused:
        lookup(saved_as(tmp_path / "pets", pictures, **given), tmp_path / "cache")
    assert "\n" not in str(refused.value)
