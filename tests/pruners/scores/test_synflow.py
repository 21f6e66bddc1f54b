import pytest
import torch
from torch import nn

from pruners import PruningError, apply_masks, connected, empty_layers, find, prune
from trainables.architectures import build


def two_layers():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    model[1].weight.data = torch.tensor([[-5.0, 6.0]])
    return model


def inputs(*shape):
    return [(torch.zeros(4, *shape), torch.zeros(4, dtype=torch.int64))]


def test_by_hand_a_weight_scores_the_absolute_paths_through_it():
    scores = find(two_layers(), "synflow", 2, inputs(2), iterations=1).scores
    assert scores["0.weight"].tolist() == [[5.0, 10.0], [18.0, 24.0]]
    assert scores["1.weight"].tolist() == [[15.0, 42.0]]
    assert scores["0.weight"].dtype == torch.float64


def test_the_paths_to_all_outputs_add_up():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    assert find(layer, "synflow", 2, inputs(2), iterations=1).scores["weight"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_labels_and_values_of_the_data_do_not_matter():
    data = [(torch.full((3, 2), float("nan")), torch.zeros(3))]
    assert find(two_layers(), "synflow", 2, data, iterations=1).scores["1.weight"].tolist() == [[15.0, 42.0]]


def test_iterations_follow_the_flow():
    # Of 6 weights, iteration 1 at density 1/2 keeps 42, 24, 18; without the paths through the first hidden
    # unit nothing changes for the second, and iteration 2 keeps 42 and 24.
    masks = prune(two_layers(), "synflow", 4, inputs(2), iterations=2)
    assert masks["0.weight"].tolist() == [[False, False], [False, True]]
    assert masks["1.weight"].tolist() == [[False, True]]


def deep(layers):
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(layers)))
    for layer in model:
        layer.weight.data.fill_(1e3)
    return model


def test_depth_that_overflows_float32():
    scores = find(deep(60), "synflow", 2, inputs(4), iterations=1).scores  # 4000^60 is about 1e216
    assert all(score.isfinite().all() for score in scores.values())
    assert float(scores["0.weight"].max()) > torch.finfo(torch.float32).max


def test_depth_that_overflows_even_float64_is_an_error():
    with pytest.raises(PruningError, match=r"'0\.weight'"):
        find(deep(100), "synflow", 2, inputs(4), iterations=1)


def test_batch_norm_gives_its_statistics_as_they_are():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=0.0))
    model[0].weight.data.fill_(-2.0)
    model[1].weight.data.fill_(-3.0)
    model[1].bias.data.fill_(-1.0)
    model[1].running_mean.fill_(-7.0)
    model[1].running_var.fill_(4.0)
    # R = 3 (2 + 7) / 2 + 1, so w dR/dw = 2 * 3 / 2; the shift drops out of the score.
    assert find(model, "synflow", 1, inputs(1)).scores["0.weight"].tolist() == [[3.0]]


def test_no_layer_collapses_where_one_shot_loses_two():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(10, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 5))
    assert empty_layers(prune(model, "synflow", 1000, inputs(10))) == []
    assert empty_layers(prune(model, "synflow", 1000, inputs(10), iterations=1)) == ["0.weight", "2.weight"]


def test_a_bias_is_a_source_of_flow_that_needs_no_layer_before_it():
    model = build("mlp", input_shape=(1, 8, 8), num_classes=10, seed=0)
    assert "1.weight" in empty_layers(prune(model, "synflow", 1000, inputs(1, 8, 8)))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    masks = prune(model, "synflow", 1000, inputs(1, 8, 8))
    assert empty_layers(masks) == [] and connected(model, masks, (1, 8, 8))


def test_l2_scores_the_squared_paths():
    # Of the path kernel: w^2 dR/dw^2 with R the sum over paths of the product of squares.
    scores = find(two_layers(), "synflow", 2, inputs(2), iterations=1, options={"norm": "l2"}).scores
    assert scores["0.weight"].tolist() == [[25.0, 100.0], [324.0, 576.0]]
    assert scores["1.weight"].tolist() == [[125.0, 900.0]]


def test_linearize_changes_nothing_where_synflow_works():
    plain, linear = (
        find(deep(3), "synflow", 1, inputs(4), iterations=1, options={"linearize": on}).scores for on in (False, True)
    )
    assert all(torch.equal(plain[key], linear[key]) for key in plain)


@pytest.mark.slow
def test_no_layer_of_vgg16_collapses_at_1000x():
    # Tanaka et al. 2020, section 6.
    model = build("vgg16-bn", input_shape=(3, 32, 32), num_classes=10, seed=0)
    masks = prune(model, "synflow", 1000, inputs(3, 32, 32))
    assert empty_layers(masks) == []
    assert connected(model, masks, (3, 32, 32))


def test_resnet20_stays_connected_at_1000x():
    # A branch may die where another goes round it: conservation holds for what all paths cross.
    model = build("resnet20", input_shape=(3, 32, 32), num_classes=10, seed=0)
    masks = prune(model, "synflow", 1000, inputs(3, 32, 32))
    assert connected(model, masks, (3, 32, 32))
    apply_masks(model, masks)
    flow = find(model, "synflow", 1, inputs(3, 32, 32), iterations=1).scores
    assert float(flow["fc.weight"].sum()) > 0
    assert float(flow["conv.weight"].sum()) == pytest.approx(float(flow["fc.weight"].sum()))
    around = [name for name, score in flow.items() if not score.any()]
    assert all(name.startswith("blocks.") for name in around)
