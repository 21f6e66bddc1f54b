"""Networks of torchvision and timm by name."""

from __future__ import annotations

import sys

import pytest
import torch

from pruners import prunable
from search_spaces import Network
from trainables.architectures import build, lookup


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet50", (3, 64, 64)),
        ("vit_b_16", (1, 32, 32)),
        ("vit_h_14", (3, 28, 28)),
        ("swin_t", (3, 32, 32)),
        ("squeezenet1_1", (1, 64, 64)),
        ("densenet121", (3, 64, 64)),
        ("efficientnet_b0", (3, 32, 32)),
        ("convnext_tiny", (1, 64, 64)),
        ("shufflenet_v2_x0_5", (3, 32, 32)),
        ("inception_v3", (1, 96, 96)),  # whose second head would make a tuple in training
        ("googlenet", (3, 64, 64)),
        ("maxvit_t", (3, 224, 224)),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_torchvisions_by_name(name, shape, training):
    with torch.device("meta"):
        model = build(Network(f"torchvision/{name}", dense_classifier=True), shape, 7, seed=0).train(training)
        every = prunable(build(f"torchvision/{name}", shape, 7, seed=0))
        assert model(torch.zeros(2, *shape)).shape == (2, 7)
    assert len(every) == len(prunable(model)) + 1


def test_the_same_seed_gives_the_same_weights_as_by_our_name():
    ours, theirs = (build(name, (3, 64, 64), 10, seed=0).state_dict() for name in ("resnet18", "torchvision/resnet18"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_images_that_a_network_cannot_see():
    with pytest.raises(ValueError, match=r"made for 3 channels \(or 1, grey\), but these images have 4"):
        build("torchvision/resnet18", (4, 64, 64), 10, seed=0)
    with pytest.raises(ValueError, match="takes square images, and these are 32x64"):
        build("torchvision/vit_b_16", (3, 32, 64), 10, seed=0)


def test_without_timm_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"'timm/resnet26' needs timm.*pip install timm"):
        lookup("timm/resnet26")


@pytest.mark.parametrize(("name", "shape"), [("resnet26", (1, 64, 64)), ("vit_tiny_patch16_224", (3, 32, 32))])
def test_timms_by_name(name, shape):
    pytest.importorskip("timm")
    model = build(f"timm/{name}", shape, 7, seed=0)
    assert model(torch.zeros(2, *shape)).shape == (2, 7)
    with pytest.raises(ValueError, match=f"did you mean 'timm/{name}'"):
        lookup(f"timm/{name}x")
