"""Streamed images: the same batches whatever the number of workers, and the published transforms."""

from __future__ import annotations

import pytest
import torch
from image_files import write_folder
from PIL import Image
from torchvision import transforms

from trainables.datasets import DatasetError, load, stream
from trainables.datasets.images import opened


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "pets", sizes=((300, 260), (240, 250), (230, 400)))


def loaded(root, tmp_path, **options):
    return load(f"folder:{root}", None, tmp_path, **options)


def epoch_of(data, seed=0, epoch=1):
    x, y = zip(*data.train_batches(seed, epoch, 5), strict=True)
    return torch.cat(x), torch.cat(y)


def test_an_epoch_is_the_same_whatever_the_number_of_workers(root, tmp_path):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    x, y = epoch_of(loaded(root, tmp_path))
    assert (x.shape, y.bincount().tolist()) == ((12, 3, 224, 224), [6, 6])
    for workers in (1, 2):
        again, classes = epoch_of(loaded(root, tmp_path, workers=workers))
        assert torch.equal(again, x)
        assert torch.equal(classes, y)
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_that_were_seen_are_not_read_again(root, tmp_path, monkeypatch):
    data, read = loaded(root, tmp_path), []
    whole = list(data.train_batches(0, 1, 5))
    monkeypatch.setattr(stream, "opened", lambda path: read.append(path) or opened(path))
    rest = list(data.train_batches(0, 1, 5, skip=1))
    assert len(read) == sum(len(y) for _, y in rest) == 7
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(whole[1:], rest, strict=True))


def test_every_epoch_alters_every_image_anew(root, tmp_path):
    data = loaded(root, tmp_path)
    images = [{row.item(): x for x, row in zip(*batch, strict=True)} for batch in (drawn(data, 1), drawn(data, 2))]
    assert all(not torch.equal(images[0][row], images[1][row]) for row in range(12))


def drawn(data, epoch):
    rows = torch.arange(12)
    return next(data.augmented([rows], 0, epoch, "cpu")), rows


def test_plain_images_are_scaled_and_cut_as_published(root, tmp_path):
    data = loaded(root, tmp_path)
    (x, y), *_ = data.test_batches()
    reference = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(data.spec.mean, data.spec.std),
        ]
    )
    for row, path in enumerate(data.files.test):
        assert torch.equal(x[row], reference(Image.open(path.decode()).convert("RGB")))
    assert y.tolist() == [0, 0, 1, 1]


def test_scoring_and_held_out_images_are_plain_and_apart(root, tmp_path):
    data = loaded(root, tmp_path, validation=0.3)
    assert (len(data.rows), len(data.held_out)) == (8, 4)
    ((x, y),) = data.validation_batches()
    assert y.bincount().tolist() == [2, 2]
    ((scored, classes),) = data.scoring_batches(0, samples_per_class=4)
    assert classes.bincount().tolist() == [4, 4]
    assert not any(torch.equal(a, b) for a in x for b in scored)
    with pytest.raises(DatasetError, match=r"5 asked for, but class 0 of 'folder:.*' has 4 training images"):
        data.scoring_batches(0, samples_per_class=5)
