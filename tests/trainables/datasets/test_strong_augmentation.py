"""RandAugment, random erasing, mixup and CutMix against torchvision's, image by image and in distribution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from image_files import write_folder
from torchvision.transforms import v2

from search_spaces import Trial
from trainables.architectures import build
from trainables.datasets import load
from trainables.datasets.strong_augmentation import Mix, StrongAugmentation, mean_colour, operate
from trainables.training.optimizer import make_optimizer
from trainables.training.step import Masked, Stepper

MEAN = (0.49, 0.48, 0.45)
COLOUR = mean_colour(MEAN)
ALL = StrongAugmentation(rand_augment=9, random_erasing=0.5, mixup=0.8, cutmix=1.0)
NAMES = list(v2.RandAugment._AUGMENTATION_SPACE)


def images(n: int, height: int = 24, width: int = 20) -> torch.Tensor:
    return torch.randint(256, (n, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_torchvisions_whatever_the_batch(name):
    x, theirs = images(6), v2.RandAugment(1, 12, fill=COLOUR)
    theirs._AUGMENTATION_SPACE = {name: v2.RandAugment._AUGMENTATION_SPACE[name]}
    ours = [operate(x, 2 * NAMES.index(name) + negative, 12, COLOUR) for negative in (0, 1)]
    for found in ours:
        assert all(torch.equal(found[i : i + 1], operate(x[i : i + 1], n, 12, COLOUR))
                   for n in [2 * NAMES.index(name) + (found is ours[1])] for i in range(6))  # fmt: skip
    seen = set()
    for seed in range(12):  # torchvision draws the sign
        torch.manual_seed(seed)
        drawn = theirs(x)
        seen |= {sign for sign, found in enumerate(ours) if torch.equal(found, drawn)}
    assert seen == {0, 1}


def test_what_is_drawn_depends_on_image_seed_and_epoch_alone():
    x, draws = images(40), ALL.draws(40, (24, 20), 0, 1)
    whole = ALL.altered(x, draws, MEAN)
    assert torch.equal(whole[7:12], ALL.altered(x[7:12], draws[7:12], MEAN))
    for other in ((1, 1), (0, 2)):
        assert not torch.equal(whole, ALL.altered(x, ALL.draws(40, (24, 20), *other), MEAN))
    operations = ALL.draws(20_000, (24, 20), 0, 1)[:, :2]
    assert torch.allclose(operations.flatten().bincount() / 40_000, torch.full((28,), 1 / 28), atol=0.005)


def test_erased_boxes_are_those_of_torchvision():
    how = StrongAugmentation(random_erasing=0.25)
    draws = how.draws(20_000, (32, 32), 0, 0)
    boxes = draws[draws[:, 4] > 0][:, 2:].double()
    assert len(boxes) / 20_000 == pytest.approx(0.25, abs=0.01)
    torch.manual_seed(0)
    theirs = v2.RandomErasing(1, value=0)
    made = [theirs.make_params([torch.empty(3, 32, 32)]) for _ in range(4000)]
    others = torch.tensor([[each[key] for key in "ijhw"] for each in made if each["v"] is not None]).double()
    for mine, other in zip(boxes.T, others.T, strict=True):
        assert mine.mean().item() == pytest.approx(other.mean().item(), abs=0.5)
        assert mine.std().item() == pytest.approx(other.std().item(), rel=0.06)
    x = images(300, 32, 32)
    for image, ours, (top, left, height, width) in zip(x, how.altered(x, draws[:300], MEAN), draws[:300, 2:].tolist(),
                                                       strict=True):  # fmt: skip
        colour = torch.tensor(COLOUR, dtype=torch.uint8)[:, None, None]
        assert torch.equal(ours, v2.functional.erase(image, top, left, height, width, colour))


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_mixtures_are_torchvisions(how):
    x, y = torch.randn(8, 3, 24, 20), torch.arange(8) % 5
    mix = StrongAugmentation(**{how: 1.0}).mix((24, 20), 0, 1, 2)
    top, bottom, left, right = mix.box or (0, 0, 0, 0)
    theirs = (v2.MixUp if how == "mixup" else v2.CutMix)(num_classes=5)
    given = {
        "labels": y,
        "batch_size": 8,
        "lam": mix.share,
        "lam_adjusted": mix.share,
        "box": (left, top, right, bottom),
    }
    assert (mix.box is None) == (how == "mixup")
    assert torch.allclose(mix.images(x, x.roll(1, 0)), theirs.transform(x, given), atol=1e-6)
    assert torch.allclose(mix.classes(y, 5), theirs.transform(y, given), atol=1e-6)


def test_shares_are_distributed_as_torchvisions():
    for how, cls in (("mixup", v2.MixUp), ("cutmix", v2.CutMix)):
        ours = torch.tensor([StrongAugmentation(**{how: 0.4}).mix((32, 32), 0, 0, n).share for n in range(4000)])
        torch.manual_seed(0)
        inputs = [torch.empty(4, 3, 32, 32)]
        made = [cls(alpha=0.4, num_classes=2).make_params(inputs) for _ in range(4000)]
        theirs = torch.tensor([each["lam" if how == "mixup" else "lam_adjusted"] for each in made])
        assert ours.mean().item() == pytest.approx(theirs.mean().item(), abs=0.025)
        assert ours.std().item() == pytest.approx(theirs.std().item(), abs=0.02)
    cut = [ALL.mix((32, 32), 0, 0, n).box is not None for n in range(4000)]
    assert sum(cut) / 4000 == pytest.approx(0.5, abs=0.03)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_folder(folder / "small", sizes=((24, 24),))
    write_folder(folder / "streamed", sizes=((300, 260), (240, 250), (230, 400)))
    return folder


@pytest.mark.parametrize("kind", ["small", "streamed"])
def test_batches_are_the_same_after_a_resume_and_from_the_parts_of_workers(kind, root, tmp_path):
    data, workers = (load(f"folder:{root / kind}", None, tmp_path, strong=ALL, workers=n) for n in (0, 2))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    whole = list(data.train_batches(0, 1, 5))
    assert torch.equal(torch.get_rng_state(), before)
    plain = list(load(f"folder:{root / kind}", None, tmp_path).train_batches(0, 1, 5))
    assert [y.shape for _, y in whole] == [(len(y), data.num_classes) for _, y in plain]
    assert all(torch.allclose(y.sum(1), torch.ones(len(y))) for _, y in whole)
    assert not any(torch.equal(x, other) for (x, _), (other, _) in zip(whole, plain, strict=True))
    for again in (workers.train_batches(0, 1, 5), (*whole[:1], *data.train_batches(0, 1, 5, skip=1))):
        assert all(
            torch.equal(a, b) for one, other in zip(whole, again, strict=True) for a, b in zip(one, other, strict=True)
        )
    for parts in (2, 3):
        shared = [list(data.train_batches(0, 1, 5, part=(number, parts), micro=1)) for number in range(parts)]
        for (x, y), *others in zip(whole, *shared, strict=True):
            assert torch.equal(x, torch.cat([other for other, _ in others]))
            assert all(torch.equal(y, known) for _, known in others)


def test_the_loss_of_a_mixed_batch_is_that_of_both_classes():
    trial = Trial(dataset="digits", architecture="mlp", label_smoothing=0.1)
    model = build("mlp", input_shape=(1, 8, 8), num_classes=10, seed=0)
    optimizer = make_optimizer(model, trial)
    step = Stepper(model, optimizer, Masked(model, optimizer, {}, None, 0), trial)
    x, y, mix = torch.randn(12, 1, 8, 8), torch.arange(12) % 10, Mix(0.7)
    logits = model(x).detach()
    loss, hits = step.gradients(x, mix.classes(y, 10)).tolist()
    own, other = (F.cross_entropy(logits, each, label_smoothing=0.1).item() for each in (y, y.roll(1)))
    assert loss / 12 == pytest.approx(0.7 * own + 0.3 * other, rel=1e-5)
    assert hits == (logits.argmax(1) == y).sum()
