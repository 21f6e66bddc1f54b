"""What every registered dataset keeps to. Those whose files are not here are skipped, saying so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainables.datasets import DATASETS, load, resolve

SHARED = Path(__file__).parents[3].parent / "shared" / "data"
BATCH = 100
SOME = 600  # training images that are looked at: all of a large set take seconds


@pytest.mark.parametrize(("key", "spec"), DATASETS.items())
def test_its_facts_agree_with_each_other(key, spec):
    assert spec.name == key
    assert spec.summary and "\n" not in spec.summary
    assert len(spec.mean) == len(spec.std) == spec.input_shape[0]
    assert 2 * spec.augment.padding < spec.input_shape[1]
    assert 0 < spec.smallest_class <= spec.train_size // spec.num_classes
    assert spec.stand_in is None or DATASETS[spec.stand_in].train_size == spec.train_size
    assert (spec.read is None) != (spec.index is None)


@pytest.fixture(scope="module")
def get(tmp_path_factory):
    """The dataset of a name; all tests here share what was decoded."""
    home = tmp_path_factory.mktemp("cache")

    def get(name, validation=0.0):
        spec = DATASETS[name]
        if not (spec.comes_along or any(all((SHARED / f).exists() for f in files) for files in spec.layouts)):
            pytest.skip(f"the files of {name} are not under ../shared/data")
        root = SHARED if SHARED.is_dir() else None
        assert resolve(name, root, home, download=False) == name
        return load(name, root, home, validation=validation)

    return get


# Images of 224 pixels take a minute to make up; the smaller ones are the same code.
every_dataset = pytest.mark.parametrize("name", [name for name in DATASETS if name != "synthetic-224"])


def taken(batches, most):
    found = []
    for batch in batches:
        found.append(batch)
        if BATCH * len(found) >= most:
            break
    return found


@every_dataset
@pytest.mark.filterwarnings("error")  # as of a decoder that gives other pixels
def test_its_images_are_those_of_its_facts(name, get):
    data, spec = get(name), DATASETS[name]
    assert (len(data.train_y), len(data.test_y)) == (spec.train_size, spec.test_size)
    assert int(torch.bincount(data.train_y, minlength=spec.num_classes).min()) == spec.smallest_class
    for classes in (data.train_y, data.test_y):
        assert torch.unique(classes).tolist() == list(range(spec.num_classes))
    rows = torch.arange(0, spec.train_size, -(-spec.train_size // SOME))
    (images,) = data.plain("train", [rows], "cpu")
    assert images.shape == (len(rows), *spec.input_shape)
    assert images.dtype == torch.uint8
    scaled = images.double().div(255)
    assert scaled.mean((0, 2, 3)).tolist() == pytest.approx(spec.mean, rel=0.06)
    assert scaled.std((0, 2, 3)).tolist() == pytest.approx(spec.std, rel=0.06)


@every_dataset
def test_an_epoch_is_a_function_of_its_seed_and_number(name, get):
    data = get(name)
    torch.manual_seed(1)
    first = taken(data.train_batches(3, 1, BATCH), SOME)
    torch.manual_seed(2)
    again = taken(data.train_batches(3, 1, BATCH), SOME)
    assert all(torch.equal(x, z) and torch.equal(y, w) for (x, y), (z, w) in zip(first, again, strict=True))
    for other in (data.train_batches(4, 1, BATCH), data.train_batches(3, 2, BATCH)):
        assert not torch.equal(next(iter(other))[1], first[0][1])
    skipped = taken(data.train_batches(3, 1, BATCH, skip=2), SOME - 2 * BATCH)
    assert all(torch.equal(x, z) for (x, _), (z, _) in zip(skipped, first[2:], strict=True))


@every_dataset
def test_every_image_is_seen_once(name, get):
    data = get(name)
    counts = torch.bincount(data.train_y)
    seen = torch.cat([y for _, y in data.train_batches(0, 1, BATCH, blind=True)])
    assert torch.equal(torch.bincount(seen), counts)
    tested = torch.cat([y for _, y in data.test_batches(blind=True)])
    assert torch.equal(tested, data.test_y)


@every_dataset
def test_scoring_images_are_as_many_of_each_class(name, get):
    data = get(name)
    batches = data.scoring_batches(0, 2)
    classes = torch.cat([y for _, y in batches])
    assert torch.bincount(classes).tolist() == [2] * data.num_classes
    assert all(x.shape[1:] == data.input_shape and x.isfinite().all() for x, _ in batches)


@every_dataset
def test_held_out_images_are_not_trained_on(name, get):
    whole, data = get(name), get(name, validation=0.25)
    assert sorted(torch.cat([data.rows, data.held_out]).tolist()) == whole.rows.tolist()
    held, all_of_it = torch.bincount(data.train_y[data.held_out]), torch.bincount(data.train_y)
    assert ((held - 0.25 * all_of_it).abs() < 1).all()
    seen = torch.cat([y for _, y in data.train_batches(0, 1, BATCH, blind=True)])
    assert torch.equal(torch.bincount(seen), torch.bincount(data.train_y[data.rows]))
