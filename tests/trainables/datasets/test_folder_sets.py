"""A folder of images: its facts, its refusals, and what makes it another dataset."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest
import torch
from image_files import write_folder, write_image
from PIL import Image

from search_spaces import Trial
from trainables.context import Place
from trainables.datasets import DatasetError, folder, load, lookup, resolve
from trainables.record.event_log import read
from trainables.run import run


@pytest.fixture(autouse=True)
def look_again(monkeypatch):
    monkeypatch.setattr(folder, "_described", {})
    monkeypatch.setattr(folder, "_facts", {})


def test_images_of_one_size_are_decoded_once(tmp_path):
    root = write_folder(tmp_path / "pets")
    spec = lookup(f"folder:{root}")
    assert (spec.path, spec.input_shape, spec.num_classes) == ("memory", (3, 12, 16), 2)
    assert (spec.train_size, spec.test_size, spec.smallest_class) == (12, 4, 6)
    data = load(spec.name, None, tmp_path / "cache")
    assert data.train_y.tolist() == [0] * 6 + [1] * 6  # cat before dog
    assert next(data.train_batches(0, 0, 12))[0].shape == (12, 3, 12, 16)
    assert sorted(path.name for path in root.iterdir()) == ["train", "val"]


def test_grey_images_have_one_channel(tmp_path):
    root = write_folder(tmp_path / "pets", mode="L")
    assert lookup(f"folder:{root}").input_shape == (1, 12, 16)
    assert load(f"folder:{root}", None, tmp_path / "cache").train_x.shape == (12, 1, 12, 16)
    write_image(root / "train" / "cat" / "colour.png")
    folder.forget(str(root))
    assert lookup(f"folder:{root}").input_shape == (3, 12, 16)


def test_images_of_several_sizes_or_too_many_are_streamed(tmp_path, monkeypatch):
    mixed = lookup(f"folder:{write_folder(tmp_path / 'mixed', sizes=((16, 12), (20, 12)))}")
    assert (mixed.path, mixed.input_shape) == ("stream", (3, 224, 224))
    assert mixed.summary == "12 + 4 images of 2 classes, of several sizes or many, streamed and cut to 224x224"
    monkeypatch.setattr(folder, "LARGEST", 1000)
    assert lookup(f"folder:{write_folder(tmp_path / 'many')}").path == "stream"


def test_the_name_is_the_same_however_the_path_is_written(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "pets")
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    ways = ["folder:pets", "folder:./pets/", "folder:~/pets", "folder:link", f"folder:{root}/../pets"]
    assert {resolve(way, None, tmp_path / "cache") for way in ways} == {f"folder:{root}"}


def test_other_images_are_another_dataset_and_the_same_images_elsewhere_are_not(tmp_path):
    root = write_folder(tmp_path / "pets")
    before = lookup(f"folder:{root}")
    shutil.copytree(root, tmp_path / "copy")
    assert lookup(f"folder:{tmp_path / 'copy'}").digest == before.digest
    write_image(root / "train" / "cat" / "new.png")
    assert resolve(before.name, None, tmp_path / "cache") == before.name  # looks again
    after = lookup(before.name)
    assert after.digest != before.digest
    assert after.cached_as != before.cached_as
    with pytest.raises(DatasetError, match="differ from those of the plan"):
        load(before.name, None, tmp_path / "cache", digest=before.digest)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "val"), r"pets/val is not a folder \(expected .*pets/train/CLASS/…"),
        (lambda root: shutil.rmtree(root / "train"), "pets/train is not a folder"),
        (lambda root: shutil.rmtree(root / "val" / "dog"), "pets/val/dog is missing"),
        (lambda root: shutil.rmtree(root / "train" / "dog"), "pets/train/dog is missing"),
        (lambda root: [file.unlink() for file in (root / "val" / "dog").iterdir()], "pets/val/dog has no image"),
        (lambda root: [shutil.rmtree(root / "train" / x) for x in ("cat", "dog")], "pets/train has no folders"),
        (lambda root: (root / "train" / "cat" / "1.png").write_bytes(b"x"), r"cat/1\.png is not a whole image"),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused_with_the_place(tmp_path, damage, message):
    root = write_folder(tmp_path / "pets")
    damage(root)
    with pytest.raises(DatasetError, match=message) as refused:
        lookup(f"folder:{root}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("sizes", [((16, 12),), ((16, 12), (20, 12))])
def test_an_image_torn_in_the_middle_is_named_and_nothing_is_kept(tmp_path, sizes):
    root = write_folder(tmp_path / "pets", sizes=sizes)
    torn = root / "train" / "dog" / "3.png"
    torn.write_bytes(torn.read_bytes()[:200])  # a header without its pixels
    with pytest.raises(DatasetError, match=r"train/dog/3\.png is not a whole image: ") as refused:
        list(load(f"folder:{root}", None, tmp_path / "cache", workers=1).train_batches(0, 0, 4))
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.npy"))


@pytest.mark.parametrize("sizes", [((16, 12),), ((16, 12), (20, 12))])
def test_a_trial_on_a_folder_says_how_its_images_were_read(tmp_path, sizes):
    spec = lookup(f"folder:{write_folder(tmp_path / 'pets', sizes=sizes)}")
    trial = Trial(dataset=spec.name, data_digest=spec.digest, architecture="mlp", epochs=1, batch_size=4)
    assert trial.name == "mlp pets dense s0"
    place = Place(storage=tmp_path / "storage", cache=tmp_path / "cache")
    outcome = run(trial, place)
    assert outcome.end == "finished", outcome
    tags = {k: v for event, _ in read(place.storage / trial.fingerprint) for k, v in event.get("tags", {}).items()}
    assert tags["data_path"] == spec.path
    changed = run(trial.model_copy(update={"data_digest": "0" * 16}), place)
    assert "differ from those of the plan" in changed.error


def test_the_test_folder_goes_before_val(tmp_path):
    root = write_folder(tmp_path / "pets")
    for label in ("cat", "dog"):
        write_image(root / "test" / label / "0.png")
    assert lookup(f"folder:{root}").test_size == 2
    assert torch.equal(load(f"folder:{root}", None, tmp_path).test_y, torch.tensor([0, 1]))


def beside(root, *names):
    for name in names:
        write_image(root / name)


def test_what_programs_leave_beside_the_images_does_not_count(tmp_path):
    root = write_folder(tmp_path / "pets")
    before = lookup(f"folder:{root}")
    beside(root, "train/cat/.ipynb_checkpoints/1.png", "train/dog/._0.png", "train/cat/__MACOSX/cat/2.png")
    beside(root, "train/.ipynb_checkpoints/1.png", "__MACOSX/train/cat/1.png", "val/__MACOSX/1.png", "val/._x.png")
    for name in ("train/.DS_Store", "train/cat/Thumbs.db", "train/cat/labels.txt", "val/notes.csv"):
        (root / name).write_bytes(b"x")
    folder.forget(str(root))
    after = lookup(f"folder:{root}")
    assert (after.train_size, after.test_size, after.num_classes, after.digest) == (12, 4, 2, before.digest)


PAIRS = (("cat", "dog"), ("dog", "cat"))


def one_class(root):
    for part in ("train", "val"):
        shutil.rmtree(root / part / "dog")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (one_class, "pets/train has one class, 'cat', expected two or more"),
        (
            lambda root: beside(root, "train/3.png"),
            r"train/3\.png is not in a folder of a class, expected .*/train/CLASS/3\.png",
        ),
        (lambda root: beside(root, "val/3.png"), r"val/3\.png is not in a folder of a class"),
        (
            lambda root: (root / "train/cat/again").symlink_to(root / "train/cat"),
            "cat/again is a link to a folder that is read already",
        ),
        (
            lambda root: (root / "train/cat/all").symlink_to(root),
            "cat/all/train/cat is a link to a folder that is read already",
        ),
        (lambda root: [(root / "train" / a / "x").symlink_to(root / "train" / b) for a, b in PAIRS], "read already"),
        (lambda root: (root / "val/bird").mkdir(), "val/bird has no image"),
        (lambda root: beside(root, "val/bird/.x.png"), "val/bird has no image"),
        (lambda root: beside(root, "val/bird/x.png"), "pets/train/bird is missing"),
    ],
)
def test_a_folder_whose_images_would_be_lost_is_refused_with_the_place(tmp_path, damage, message):
    root = write_folder(tmp_path / "pets")
    damage(root)
    with pytest.raises(DatasetError, match=message) as refused:
        lookup(f"folder:{root}")
    assert "\n" not in str(refused.value)


def test_the_digest_is_that_of_names_and_sizes_unless_pixels_are_altered(tmp_path):
    """Worked by hand: images of 8 bits keep the fingerprints that they had before others could be read."""
    root = write_folder(tmp_path / "pets")
    files = [path for part in ("train", "val") for path in sorted((root / part).rglob("*.png"))]
    listing = "".join(f"{path.relative_to(root)}\0{path.stat().st_size}\n" for path in files)
    assert lookup(f"folder:{root}").digest == hashlib.sha256(listing.encode()).hexdigest()[:16]
    file = root / "train" / "cat" / "0.png"
    image = Image.open(file).convert("RGBA")
    digests = []
    for opacity in (255, 254):
        image.putalpha(opacity)
        image.save(file)
        listing = "".join(f"{path.relative_to(root)}\0{path.stat().st_size}\n" for path in files)
        folder.forget(str(root))
        digests.append(lookup(f"folder:{root}").digest == hashlib.sha256(listing.encode()).hexdigest()[:16])
    assert digests == [True, False]


def test_files_written_anew_are_decoded_anew_though_their_sizes_are_the_same(tmp_path):
    root = tmp_path / "grey"
    file = root / "train" / "a" / "0.pgm"
    for name in ("train/a/0.pgm", "train/b/0.pgm", "test/a/0.pgm", "test/b/0.pgm"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"P5 2 2 255\n" + bytes(4))
    before = load(f"folder:{root}", None, tmp_path / "cache").train_x[0].sum()
    file.write_bytes(b"P5 2 2 255\n" + bytes([9] * 4))
    os.utime(file, ns=(1, 1))
    folder.forget(str(root))
    after = load(f"folder:{root}", None, tmp_path / "cache").train_x[0].sum()
    assert (before, after) == (0, 36)


def test_what_was_learnt_of_the_images_is_kept_for_other_processes(tmp_path, monkeypatch):
    root, cache = write_folder(tmp_path / "pets"), tmp_path / "cache"
    before = load(f"folder:{root}", None, cache).spec
    monkeypatch.setattr(folder, "_facts", {})
    monkeypatch.setattr(folder, "survey", None)  # would fail if it was called
    folder.forget(str(root))
    after = lookup(f"folder:{root}", cache)
    assert (after.input_shape, after.decoding, after.digest) == (before.input_shape, before.decoding, before.digest)
    monkeypatch.undo()
    (kept,) = cache.glob("*.json")
    kept.write_text("{")
    monkeypatch.setattr(folder, "_facts", {})
    folder.forget(str(root))
    assert lookup(f"folder:{root}", cache).input_shape == before.input_shape
