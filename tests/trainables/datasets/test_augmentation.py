"""Augmentations by name: the published programs' transforms, image by image and in distribution."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from image_files import write_folder
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from search_spaces import SpaceError, expand
from search_spaces.space import validate
from trainables.datasets import AUGMENTATIONS, DATASETS, load
from trainables.datasets.augmentation import NONE, boxes, crop, resized

DRAWS = 20_000
LOADERS = json.loads((Path(__file__).parents[2] / "published" / "augmentation.json").read_text("utf-8"))["loaders"]


def images(n: int, height: int = 24, width: int = 24) -> torch.Tensor:
    return torch.randint(256, (n, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def box_of(augment: str, n: int, size: tuple[int, int] = (64, 64)) -> list[torch.Tensor]:
    how = AUGMENTATIONS[augment]
    return [each.double() for each in boxes(n, size, how.area, how.ratio, torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("size", [(24, 24), (20, 31)])
def test_a_resized_box_is_pillows_to_the_byte(size):
    x = images(200, *size)
    box = boxes(len(x), size, (0.08, 1), (3 / 4, 4 / 3), torch.Generator().manual_seed(1))
    found = resized(x, *box)
    for image, ours, *place in zip(x, found, *(each.tolist() for each in box), strict=True):
        pillows = functional.resized_crop(functional.to_pil_image(image), *place, list(size))
        assert torch.equal(ours, functional.pil_to_tensor(pillows))


@pytest.mark.parametrize("augment", ["resized-crop-flip", "resized-crop-0.1-flip"])
@pytest.mark.parametrize("size", [(64, 64), (32, 100)], ids=["square", "where most boxes do not fit"])
def test_boxes_are_distributed_as_torchvisions(augment, size):
    how = AUGMENTATIONS[augment]
    theirs = torch.empty(DRAWS // 8, 4)
    torch.manual_seed(0)
    for row in theirs:
        row[:] = torch.tensor(
            transforms.RandomResizedCrop.get_params(torch.empty(1, *size), list(how.area), list(how.ratio))
        )
    ours = torch.stack(box_of(augment, DRAWS, size), 1)
    assert (ours[:, 0] + ours[:, 2] <= size[0]).all() and (ours[:, 1] + ours[:, 3] <= size[1]).all()
    for mine, other in zip(ours.T, theirs.T.double(), strict=True):
        error = other.std() / len(other) ** 0.5
        assert abs(mine.mean() - other.mean()) < 5 * error
        assert mine.std().item() == pytest.approx(other.std().item(), rel=0.06)
        ends, others = ([each.min().item(), each.max().item()] for each in (mine, other))
        assert ends == pytest.approx(others, abs=3)


def test_ntk_saps_boxes_on_tiny_imagenet():
    # Utils/load.py: RandomResizedCrop(size=64, scale=(0.1, 1.0), ratio=(0.8, 1.25)), and a flip.
    _, _, height, width = box_of("resized-crop-0.1-flip", DRAWS)
    share, aspect = height * width / 64**2, width / height
    assert share.min() == pytest.approx(0.1, abs=0.01) and share.max() == 1
    assert aspect.min() > 0.8 - 0.05 and aspect.max() < 1.25 + 0.05


def test_a_box_that_never_fits_is_the_largest_in_the_middle():
    top, left, height, width = boxes(5, (4, 100), (0.9, 1), (0.8, 1.25), torch.Generator().manual_seed(0))
    assert [each.unique().tolist() for each in (top, left, height, width)] == [[0], [47], [4], [5]]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_what_is_drawn_depends_on_image_seed_and_epoch_alone(name):
    how, x = AUGMENTATIONS[name], images(12)
    draws = how.draws(12, (24, 24), 0, 1)
    one = how.altered(x, draws, (0.5, 0.4, 0.3))
    assert torch.equal(one[3:5], how.altered(x[3:5], how.draws(12, (24, 24), 0, 1)[3:5], (0.5, 0.4, 0.3)))
    others = [how.altered(x, how.draws(12, (24, 24), *other), (0.5, 0.4, 0.3)) for other in ((1, 1), (0, 2))]
    assert all(torch.equal(one, other) == (name == "none") for other in others)


def test_crops_are_torchvisions_with_padding():
    x, how = images(50), AUGMENTATIONS["pad4-flip"]
    draws = how.draws(50, (24, 24), 0, 0)
    for image, ours, (top, left, mirrored) in zip(x, how.altered(x, draws, (0.5,) * 3), draws.tolist(), strict=True):
        bordered = functional.pad(image, [4] * 4)  # mirrored before the crop and not after: any crop is as likely
        theirs = functional.crop(functional.hflip(bordered) if mirrored else bordered, top, left, 24, 24)
        assert torch.equal(ours, theirs)
    assert draws[:, :2].unique().tolist() == list(range(9))  # by up to 4 either way
    assert not AUGMENTATIONS["pad4"].draws(50, (24, 24), 0, 0)[:, 2].any()


def test_the_snip_authors_alter_by_none_one_or_both():
    # snip/augment.py: imgaug's SomeOf((0, None)) of a shift by -4 to 4 pixels and a flip of one in two.
    how = AUGMENTATIONS["snip"]
    top, left, mirrored = how.draws(DRAWS, (32, 32), 0, 0).unbind(1)
    moved = (top != 4) | (left != 4)
    assert moved.double().mean().item() == pytest.approx(1 / 2 * 80 / 81, abs=0.02)
    assert mirrored.double().mean().item() == pytest.approx(1 / 4, abs=0.02)
    assert (moved & (mirrored > 0)).double().mean().item() == pytest.approx(1 / 3 * 80 / 81 / 2, abs=0.02)
    corner = how.altered(images(1), torch.tensor([[0, 0, 0]]), (0.4914, 0.4822, 0.4465))[0, :, 0, 0]
    assert corner.tolist() == [125, 123, 114]  # the mean colour: theirs shifts what is normalised already
    black = crop(images(1), 4, [0, 0, 0], *torch.zeros(3, 1, dtype=torch.int64))
    assert not black[:, :, :4].any()


def test_published_augmentations_of_the_datasets():
    # What a dataset had before there was a choice: it stays, or old records would not give the old numbers.
    own = {name: spec.augment for name, spec in DATASETS.items()}
    assert own["cifar10"] == own["cifar10-jpeg75"] == own["cifar100"] == AUGMENTATIONS["pad4-flip"]
    assert own["svhn"] == AUGMENTATIONS["pad4"]
    assert own["tiny-imagenet"] == AUGMENTATIONS["pad8-flip"]
    assert own["imagenet"] == AUGMENTATIONS["resized-crop-flip"]
    assert own["mnist"] == own["fashion-mnist"] == own["digits"] == own["synthetic-32"] == NONE


@pytest.mark.parametrize("loader", LOADERS, ids=[f"{each['program']} {each['dataset']}" for each in LOADERS])
def test_every_published_loader_has_a_name_here(loader):
    if loader["augment"] is None:
        pytest.skip(f"not offered: {loader['note']}")
    how = AUGMENTATIONS[loader["augment"]]
    assert (how.padding, how.flip) == (loader.get("padding", 0), loader.get("flip", False))
    assert list(how.area or ()) == loader.get("scale", [])
    if how.area:
        assert list(how.ratio) == pytest.approx(loader["ratio"], abs=1e-4)


def test_where_a_loader_normalises_by_other_numbers():
    # By more than rounding: such inputs differ by a factor, which a batch norm after the first layer takes out again.
    def off(loader):
        spec = DATASETS[loader["dataset"]]
        numbers = zip((*spec.mean, *spec.std), (*loader["mean"], *loader["std"]), strict=True)
        return max(abs(ours - theirs) for ours, theirs in numbers)

    others = {(loader["program"], loader["dataset"]) for loader in LOADERS if off(loader) > 0.0015}
    assert others == {
        ("GraSP", "mnist"),  # by 0.5 and 0.5
        ("mil-ad SNIP", "mnist"),  # not at all
        ("open_lth", "cifar10"),  # by ImageNet's
        ("GraSP", "cifar10"),  # deviations of about 0.2: the mean of each image's own
        ("FORCE", "cifar10"),
        ("ProsPr", "cifar10"),
        ("mil-ad SNIP", "cifar10"),
    }


def test_a_trial_may_ask_for_another(tmp_path):
    root = write_folder(tmp_path / "small", sizes=((24, 24),))
    own, boxed, plain = (
        load(f"folder:{root}", None, tmp_path, augment=name) for name in ("", "resized-crop-flip", "none")
    )
    assert boxed.spec == replace(own.spec, augment=AUGMENTATIONS["resized-crop-flip"]) != own.spec
    first = [next(data.train_batches(0, 0, 64)) for data in (own, boxed, plain)]
    assert all(torch.equal(y, first[0][1]) for _, y in first)  # the order is not touched
    assert len({x.sum().item() for x, _ in first}) == 3
    tested = [next(data.test_batches())[0] for data in (own, boxed, plain)]
    assert torch.equal(tested[0], tested[1]) and torch.equal(tested[0], tested[2])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "pets", sizes=((300, 260), (240, 250), (230, 400)))


@pytest.mark.parametrize("name", ["none", "pad4-flip", "resized-crop-0.1-flip", "snip"])
def test_streamed_images_are_altered_as_asked(root, tmp_path, name, monkeypatch):
    data = load(f"folder:{root}", None, tmp_path, augment=name)
    rows = torch.arange(12)
    found = next(data.augmented([rows], 0, 1, "cpu"))
    again = next(data.augmented([rows.flip(0)], 0, 1, "cpu")).flip(0)
    middle = next(data.plain("train", [rows], "cpu"))
    assert found.shape == (12, 3, 224, 224) and torch.equal(found, again)
    assert torch.equal(found, middle) == (name == "none")
    if name == "pad4-flip":
        for image, whole in zip(found, middle, strict=True):
            bordered = functional.pad(whole, [4] * 4)
            ways = [bordered[:, t : t + 224, s : s + 224] for t in range(9) for s in range(9)]
            assert any(torch.equal(image, each) or torch.equal(image, each.flip(2)) for each in ways)


def test_streamed_boxes_default_to_the_published_recipe(root, tmp_path):
    data = load(f"folder:{root}", None, tmp_path)
    from trainables.randomness import seeded

    published = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()])
    found = next(data.augmented([torch.arange(3)], 0, 1, "cpu"))
    for row, ours in enumerate(found):
        with seeded(0, "augment", 1, row), Image.open(data.files.train[row].decode()) as image:
            assert torch.equal(ours, functional.pil_to_tensor(published(image.convert("RGB"))))


def test_a_record_says_what_differs_from_the_datasets_own():
    from orchestrator.planning.catalog import catalog

    def record(**fields):
        raw = {"dataset": "tiny-imagenet", "architecture": "resnet18", "pruner": "snip", "compression": 10, **fields}
        ((_, trial),) = zip(*expand(validate(raw, "space"), catalog()), strict=True)
        return trial

    assert record(augment="pad4-flip").augment == "pad4-flip"
    assert record(augment="pad8-flip") == record() and record().augment == ""
    assert record(augment="pad4-flip").fingerprint != record().fingerprint
    measured = {"measure": "critical-compression", "dataset": "cifar10", "architecture": "vgg16-bn"}
    assert record(**measured, augment="none").augment == ""  # nothing is trained there
    with pytest.raises(SpaceError, match=r"augment: 'pad4flip' is not known; did you mean 'pad4-flip'\?"):
        record(augment="pad4flip")
