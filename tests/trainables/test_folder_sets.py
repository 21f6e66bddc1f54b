"""A folder of images: its facts, its refusals, and what makes it another dataset."""

from __future__ import annotations

import shutil

import pytest
import torch
from image_files import write_folder, write_image

from search_spaces import Trial
from trainables.datasets import DatasetError, folder, load, lookup, resolve
from trainables.outbox import read
from trainables.place import Place
from trainables.run import run


@pytest.fixture(autouse=True)
def look_again(monkeypatch):
    monkeypatch.setattr(folder, "_described", {})


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
    with pytest.raises(DatasetError, match="are not those of the plan"):
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
    trial = Trial(dataset=spec.name, data_digest=spec.digest, architecture="conv", epochs=1, batch_size=4)
    assert trial.name == "conv pets dense s0"
    place = Place(storage=tmp_path / "storage", cache=tmp_path / "cache")
    outcome = run(trial, place)
    assert outcome.end == "finished", outcome
    tags = {k: v for event, _ in read(place.storage / trial.fingerprint) for k, v in event.get("tags", {}).items()}
    assert tags["data_path"] == spec.path
    changed = run(trial.model_copy(update={"data_digest": "0" * 16}), place)
    assert "are not those of the plan" in changed.error


def test_the_test_folder_goes_before_val(tmp_path):
    root = write_folder(tmp_path / "pets")
    for label in ("cat", "dog"):
        write_image(root / "test" / label / "0.png")
    assert lookup(f"folder:{root}").test_size == 2
    assert torch.equal(load(f"folder:{root}", None, tmp_path).test_y, torch.tensor([0, 1]))
