"""What is known of a network before anything trains: that it runs, fits its weights, and can train them all."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from orchestrator.planning.catalog import catalog
from orchestrator.planning.check_networks import require_networks
from orchestrator.planning.plan import plan
from search_spaces import SpaceError, Trial, expand, load
from trainables.context import Place
from trainables.run import run

BASE = {"dataset": "digits", "architecture": "conv", "pruner": "magnitude", "compression": 2, "epochs": 1}
OWN = '''
from torch import nn

def build(input_shape, num_classes, width=8):
    """A small network."""
    channels, height, side = input_shape
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Flatten(),
                         nn.Linear(width * height * side, num_classes))

def two(input_shape, num_classes):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, num_classes)
        def forward(self, x):
            return self.fc(x.flatten(1)), x
    return Two()

def wrong(input_shape):
    return None

def narrow(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3, num_classes))

def raises(input_shape, num_classes):
    raise RuntimeError("two\\nlines")

def needs(input_shape, num_classes, width):
    return None

NUMBER = 3
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_file.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def planned(tmp_path, force=False, **fields):
    return plan(load(BASE | fields), cache=tmp_path / "data", force=force)


def trial(dataset, architecture, **fields):
    return Trial(dataset=dataset, architecture=architecture, pruner="magnitude", compression=2, **fields)


@pytest.mark.parametrize(
    ("dataset", "architecture", "message"),
    [
        (
            "cifar10",
            "resnet18",
            r"62 % of its prunable weights can never train on the 32x32 .*choose 'resnet18-cifar'",
        ),
        ("cifar10", "torchvision/resnet18", r"62 % .*choose 'resnet18-cifar'\. --force"),
        ("mnist", "vgg16-bn", r"43 % .*28x28 images of mnist.*maps shrink to one pixel"),
    ],
)
def test_dead_weights_are_refused_with_the_figure_and_the_right_name(dataset, architecture, message):
    pruned = trial(dataset, architecture)
    with pytest.raises(SpaceError, match=message) as refusal:
        require_networks([pruned], {}, force=False)
    assert "\n" not in str(refusal.value)
    (notice,) = require_networks([pruned], {}, force=True)
    assert "can never train" in notice
    assert require_networks([Trial(dataset=dataset, architecture=architecture)], {}, force=False) == ()  # no figures


@pytest.mark.parametrize("architecture", ["resnet18-cifar", "vgg16", "mobilenet-v2-cifar", "torchvision/vit_b_32"])
def test_the_right_ones_are_not_refused(architecture):
    assert require_networks([trial("cifar10", architecture)], {}, force=False) == ()


@pytest.mark.parametrize(
    ("dataset", "architecture", "message"),
    [
        (
            "mnist",
            "torchvision/vit_b_16",
            r"cannot be made for 28x28 images: Input shape indivisible by patch",
        ),
        ("cifar10", "torchvision/inception_v3", r"does not run on the 3x32x32 images of cifar10: RuntimeError"),
        ("cifar10", "torchvision/resnet51", r"did you mean 'torchvision/resnet50'"),
        ("cifar10", "torchvison/resnet50", r"library: 'torchvison' is not known; did you mean 'torchvision'"),
        ("mnist", "resnet18-cifer", r"did you mean 'resnet18-cifar'"),
    ],
)
def test_networks_that_cannot_be(dataset, architecture, message):
    with pytest.raises(SpaceError, match=message) as refusal:
        require_networks([trial(dataset, architecture)], {}, force=False)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("build", None),
        ("bild", r"name in my_file\.py 'bild'.*Did you mean 'build'"),
        ("two", r"it returns a tuple for two images of digits in train mode; it must return \(2, 10\) logits"),
        ("narrow", r"does not run on the 1x8x8 images of digits: RuntimeError"),
        ("raises", r"architecture my_file\.py:raises: RuntimeError: two lines"),
        ("wrong", r"must take \(input_shape, num_classes, \*\*options\)"),
        ("needs", r"option 'width' .* must have a number, text, true or false as default"),
        ("NUMBER", r"is of type int; it must be a function"),
    ],
)
def test_the_users_own(file, tmp_path, name, message):
    if message is None:
        assert planned(tmp_path, architecture=f"{file}:{name}").notices == ()
        return
    with pytest.raises(SpaceError, match=message) as refusal:
        planned(tmp_path, architecture=f"{file}:{name}")
    assert "\n" not in str(refusal.value)


def test_the_users_own_travels_and_its_options_count(file, tmp_path):
    space = BASE | {"architecture": [f"{file}:build", {"name": f"{file}:build", "width": 16}]}
    _, (narrow, wide) = expand(load(space), catalog())
    assert (narrow.architecture, narrow.architecture_options, wide.architecture_options) == (
        "my_file.py:build",
        {},
        {"width": 16},
    )
    _, (same,) = expand(load(BASE | {"architecture": {"name": f"{file}:build", "width": 8}}), catalog())
    assert same == narrow
    file.unlink()
    again = Trial.model_validate_json(wide.model_dump_json())
    assert run(again, Place(storage=tmp_path / "a", cache=tmp_path / "data")).end == "finished"


def test_keep_dense_reaches_the_trial(tmp_path):
    architecture = {"name": "conv", "dense_classifier": True, "keep_dense": ["0.*"]}
    (pruned,) = planned(tmp_path, architecture=architecture).trials
    place = Place(storage=tmp_path / "a", cache=tmp_path / "data")
    assert run(pruned, place).end == "finished"
    folder = place.storage / pruned.fingerprint
    assert list(load_file(folder / "masks.safetensors")) == ["2.weight"]
    events = [json.loads(line) for line in (folder / "layers.json").read_text().splitlines()]
    assert [row[4] for row in events[0]["data"]] == [1.0, 0.5, 1.0]
    with pytest.raises(SpaceError, match=r"architecture conv .*weight to keep dense '9\.weight'"):
        planned(tmp_path, architecture={"name": "conv", "keep_dense": ["9.weight"]})
