"""Batches: every image once, each altered as the seed and the epoch say, whatever else happens."""

from dataclasses import replace

import pytest
import torch
from torchvision import transforms

from trainables.datasets import AUGMENTATIONS, DatasetSpec, dataset
from trainables.datasets.augmentation import NONE, Augmentation
from trainables.datasets.batches import grouped
from trainables.datasets.memory import InMemory
from trainables.datasets.split import split

CROP = Augmentation("", padding=2)
CROP_FLIP = replace(CROP, flip=True)


def tiny(size=12, classes=None, train_x=None, validation=0.0, **changes):
    """Random 8x8 colour images of three classes in turn."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (size, 3, 8, 8), dtype=torch.uint8, generator=draw)
    train_y = torch.arange(size) % 3 if classes is None else classes
    facts = {
        "name": "tiny",
        "summary": "random pixels",
        "input_shape": (3, 8, 8),
        "num_classes": 3,
        "train_size": len(train_y),
        "test_size": 4,
        "smallest_class": size // 3,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.1),
        "augment": CROP_FLIP,
    }
    return InMemory(
        DatasetSpec(**facts | changes),
        train_y,
        torch.arange(4) % 3,
        *split(train_y, validation),
        train_x=images if train_x is None else train_x,
        test_x=torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=draw),
    )


def test_plain_batches_are_torchvisions_bit_for_bit():
    data = tiny()
    reference = transforms.Compose([transforms.ToTensor(), transforms.Normalize(data.spec.mean, data.spec.std)])
    classic = torch.stack([reference(x.permute(1, 2, 0).numpy()) for x in data.test_x])
    x, y = next(data.test_batches())
    assert torch.equal(x, classic)
    assert torch.equal(y, data.test_y)
    order = torch.cat([y for _, y in tiny(augment=NONE).train_batches(0, 0, 5)])
    assert sorted(order.tolist()) == sorted(data.train_y.tolist())


def test_every_augmented_image_is_a_crop_of_its_own_image_or_mirror():
    data = tiny(size=64, classes=torch.arange(64), mean=(0.0,) * 3, std=(1.0,) * 3)
    corners, mirrors = set(), set()
    for x, y in data.train_batches(0, 0, 10):
        for image, index in zip((x * 255).round().to(torch.uint8), y, strict=True):
            source = torch.nn.functional.pad(data.train_x[index], [2] * 4)
            found = [
                (top, left, mirror)
                for mirror, whole in enumerate((source, source.flip(-1)))
                for top in range(5)
                for left in range(5)
                if torch.equal(whole[:, top : top + 8, left : left + 8], image)
            ]
            assert len(found) == 1
            corners.add(found[0][:2])
            mirrors.add(found[0][2])
    assert len(corners) > 20  # of 25
    assert mirrors == {0, 1}


def test_crop_alone_never_mirrors():
    ramp = torch.arange(8, dtype=torch.uint8).expand(6, 3, 8, 8)
    data = tiny(size=6, train_x=ramp + 1, classes=torch.zeros(6, dtype=torch.int64), augment=CROP)
    for x, _ in data.train_batches(0, 0, 6):
        middle = x[:, 0, 4, 2:6]
        assert (middle.diff() > 0).all()


def epoch_of(data, seed, epoch):
    x, y = zip(*data.train_batches(seed, epoch, 5), strict=True)
    return torch.cat(x), torch.cat(y)


def test_an_epoch_can_be_replayed_whatever_happened_in_between():
    data = tiny(classes=torch.arange(12))
    x, y = epoch_of(data, seed=0, epoch=3)
    torch.manual_seed(99)
    again, _ = epoch_of(data, seed=0, epoch=3)
    assert torch.equal(again, x)
    _, plain = epoch_of(tiny(classes=torch.arange(12), augment=NONE), seed=0, epoch=3)
    assert torch.equal(plain, y)  # augmentation does not change the order
    for other in ({"seed": 0, "epoch": 4}, {"seed": 1, "epoch": 3}):
        assert not torch.equal(epoch_of(data, **other)[1], y)


def test_batches_that_were_seen_can_be_passed_over():
    whole = list(tiny().train_batches(0, 3, 5))
    rest = list(tiny().train_batches(0, 3, 5, skip=1))
    assert len(rest) == len(whole) - 1 > 0
    assert all(
        torch.equal(a, b) for one, other in zip(whole[1:], rest, strict=True) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("size", "batch_size", "sizes"),
    [(12, 5, [5, 5, 2]), (11, 5, [5, 6]), (10, 5, [5, 5]), (3, 5, [3]), (1, 5, [1]), (6, 5, [6]), (3, 1, [1] * 3)],
)
def test_the_last_batch_is_kept_and_never_a_single_image(size, batch_size, sizes):
    seen = [len(y) for _, y in tiny(size=size).train_batches(0, 0, batch_size)]
    assert seen == sizes


def test_scoring_batches_are_balanced_plain_and_a_function_of_the_seed(monkeypatch):
    monkeypatch.setattr(dataset, "SCORING_BATCH", 5)
    data = tiny(size=300)
    first = data.scoring_batches(seed=0, samples_per_class=4)
    assert [len(y) for _, y in first] == [5, 5, 2]
    classes = torch.cat([y for _, y in first])
    assert torch.bincount(classes).tolist() == [4, 4, 4]
    assert classes.tolist() != sorted(classes.tolist())
    plain = {tuple(x.flatten().tolist()) for x, _ in tiny(size=300, augment=NONE).train_batches(0, 0, 1)}
    images = torch.cat([x for x, _ in first])
    assert all(tuple(x.flatten().tolist()) in plain for x in images)
    again = data.scoring_batches(seed=0, samples_per_class=4)
    other = data.scoring_batches(seed=1, samples_per_class=4)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    drawn = [data.scoring_batches(seed=0, samples_per_class=4, draw=draw) for draw in (1, 2)]
    for batches in drawn:
        assert torch.bincount(torch.cat([y for _, y in batches])).tolist() == [4, 4, 4]
        assert not torch.equal(batches[0][0], first[0][0])
    assert not torch.equal(drawn[0][0][0], drawn[1][0][0])


def test_scoring_asks_for_no_more_than_a_class_has():
    with pytest.raises(ValueError, match="samples_per_class: 5 asked for, but class 0 of 'tiny' has 4"):
        tiny().scoring_batches(seed=0, samples_per_class=5)


@pytest.mark.parametrize("augment", [NONE, CROP, CROP_FLIP, AUGMENTATIONS["resized-crop-flip"]])
@pytest.mark.parametrize("most", [1, 10, 11, 1000])
def test_images_made_in_groups_are_those_made_batch_by_batch(augment, most, monkeypatch):
    data = tiny(size=43, augment=augment, validation=0.2)
    ways = [
        lambda: data.train_batches(0, 1, 5),
        lambda: data.train_batches(0, 1, 5, skip=3),
        lambda: data.train_batches(0, 1, 5, part=(1, 3), micro=2),
        lambda: data.train_batches(0, 1, 5, part=(3, 4)),  # of its last batches some are empty
        lambda: data.train_batches(0, 1, 5, blind=True),
        data.test_batches,
        data.validation_batches,
        lambda: data.scoring_batches(0, samples_per_class=4),
    ]
    monkeypatch.setattr(InMemory, "_made_at_once", lambda self, device: 0)
    alone = [list(way()) for way in ways]
    monkeypatch.setattr(InMemory, "_made_at_once", lambda self, device: most)
    for way, expected in zip(ways, alone, strict=True):
        found = list(way())
        assert len(found) == len(expected) > 0
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(found, expected, strict=True))


def test_a_group_holds_as_many_whole_batches_as_fit():
    batches = torch.arange(12).split([4, 4, 3, 1])
    assert [[len(batch) for batch in group] for group in grouped(batches, 8)] == [[4, 4], [3, 1]]
    assert [[len(batch) for batch in group] for group in grouped(batches, 7)] == [[4], [4, 3], [1]]
    assert [len(group) for group in grouped(batches, 0)] == [1, 1, 1, 1]
    assert [len(group) for group in grouped(batches, 99)] == [4]
    assert grouped([], 8) == []


def test_a_cpu_makes_what_its_cache_holds_and_a_gpu_no_more_than_its_memory_is_worth():
    assert tiny()._made_at_once("cpu") == 2**19 // (3 * 8 * 8 * 4) == 682
    assert tiny(input_shape=(3, 32, 32))._made_at_once("cpu") == 42
    assert tiny()._made_at_once("cuda") == 8192
    assert tiny(input_shape=(3, 64, 64))._made_at_once("cuda") == 2**25 // (3 * 64 * 64 * 4) == 682
    assert tiny(input_shape=(3, 25, 25))._made_at_once("cuda") == 0  # 7500 bytes each: not aligned alike
