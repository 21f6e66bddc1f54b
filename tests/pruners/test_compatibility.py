import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from pruners import PRUNERS, PruningError, concerns, find
from trainables.architectures import build


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_synflow_on_mobilenet_v2():
    model = torchvision.models.mobilenet_v2(num_classes=10)
    saturation, zeros = concerns(model, "synflow", (3, 32, 32))
    assert "35 modules of type ReLU6 (features.0.2, " in saturation and "linearize: true" in saturation
    assert "99.4 % of the scores are exactly zero, all of them in 5" in zeros and "of 53 layers" in zeros
    assert concerns(model, "synflow", (3, 32, 32), options={"linearize": True}) == []


def test_squeeze_and_excite():
    model = torchvision.models.mobilenet_v3_small(num_classes=10)
    first, second = concerns(model, "synflow", (3, 64, 64))
    assert "Hardsigmoid, Hardswish" in first and "% of the scores are exactly zero" in second
    assert concerns(model, "synflow", (3, 64, 64), options={"linearize": True}) == []


def test_layer_norm():
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    assert any("LayerNorm (1) divide the flow" in sentence for sentence in concerns(model, "synflow", (4,)))
    assert concerns(model, "synflow", (4,), options={"linearize": True}) == []


class Calling(nn.Linear):
    def forward(self, x):
        return super().forward(F.layer_norm(F.relu6(x), x.shape[1:]) * x.sigmoid())


def test_functions_that_no_module_stands_for():
    first, second = concerns(Calling(4, 2), "synflow", (4,))[:2]
    assert "calls of relu6, sigmoid in the model's forward saturate" in first
    assert "calls of layer_norm in the model's forward divide the flow" in second


def test_transformers():
    model = torchvision.models.VisionTransformer(32, 8, 3, 4, 32, 64, num_classes=10)  # vit_b_16 in small
    norms, zeros = concerns(model, "synflow", (3, 32, 32))
    assert "7 modules of type LayerNorm" in norms and "linearize: true" in norms
    assert "100.0 % of the scores are exactly zero" in zeros and "layers that start at zero" in zeros  # its head does
    nn.init.normal_(model.heads.head.weight)
    assert concerns(model, "synflow", (3, 32, 32), options={"linearize": True}) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: torchvision.models.resnet50(num_classes=10),
        lambda: torchvision.models.densenet121(num_classes=10),
        lambda: build("resnet110", input_shape=(3, 64, 64), num_classes=10, seed=0),
    ],
    ids=["resnet50", "densenet121", "resnet110"],
)
def test_depth_at_which_float32_overflows(make):
    model = make()
    assert concerns(model, "synflow", (3, 64, 64)) == []
    flow = find(model, "synflow", 10, [(torch.zeros(1, 3, 64, 64), torch.zeros(1))], iterations=1).scores
    assert max(float(score.max()) for score in flow.values()) > torch.finfo(torch.float32).max


def test_what_no_input_of_this_size_can_train():
    model = torchvision.models.resnet18(num_classes=10)  # the last stages are 1x1: eight of nine taps see padding
    (sentence,) = concerns(model, "snip", (3, 32, 32), mode="train")
    assert "62." in sentence and "inputs too small" in sentence
    assert concerns(model, "magnitude", (3, 32, 32)) == []


def test_overflow():
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(40)))
    for layer in model:
        layer.weight.data.fill_(1e3)
    assert concerns(model, "synflow", (4,)) == []  # float64
    assert any("NaN or overflow float32" in sentence for sentence in concerns(model, "snip", (4,)))


@pytest.mark.parametrize("name", [name for name, pruner in PRUNERS.items() if pruner.when == "before"])
@pytest.mark.parametrize("architecture", ["conv", "resnet20"])
def test_nothing_to_say_where_all_is_well(name, architecture):
    model = build(architecture, input_shape=(3, 8, 8), num_classes=10, seed=0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = concerns(model, name, (3, 8, 8))
    assert not any("linearize" in sentence or "overflow" in sentence for sentence in found)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_unknown_options_are_refused():
    with pytest.raises(PruningError, match="linearize"):
        concerns(nn.Linear(2, 2), "synflow", (2,), options={"linearise": True})
