"""Mistakes found in published pruning programs, each as the smallest case that shows it."""

import copy

import pytest
import torch
from by_hand import OF_WEIGHTS
from torch import nn, tensor

from pruners import PRUNERS, apply_masks, find, masking, prunable, prune, select


def test_all_equal_scores_are_not_all_pruned():
    assert int(select({"a": torch.ones(10)}, 0.5)["a"].sum()) == 5


def test_nothing_to_prune_is_not_an_error(model, batches):
    for name in OF_WEIGHTS:
        assert all(mask.all() for mask in prune(model, name, 1, batches).values())


def test_density_one_starts_afresh(model, batches):
    prune(model, "snip", 10, batches)
    assert all(mask.all() for mask in prune(model, "snip", 1, batches).values())


def test_no_weight_more_or_less_at_the_threshold():
    assert int(select({"a": torch.arange(100.0)}, 0.2)["a"].sum()) == 20
    assert int(select({"a": torch.arange(1000.0)}, 1 / 8)["a"].sum()) == 125


def test_pruned_weights_are_not_revived(model, batches):
    for name in ("snip", "grasp"):  # both score a zeroed weight 0, above every negative GraSP score
        pruning = find(model, name, 20, batches, iterations=10)
        dead = {key: score == 0 for key, score in pruning.scores.items()}
        assert not any((mask & dead[key]).any() for key, mask in pruning.masks.items())


def test_grasp_does_not_take_absolute_values(model, batches):
    pruning = find(model, "grasp", 4, batches)
    kept = torch.cat([pruning.scores[key][mask] for key, mask in pruning.masks.items()])
    lost = torch.cat([pruning.scores[key][~mask] for key, mask in pruning.masks.items()])
    assert kept.min() >= lost.max()
    assert lost.abs().max() > kept.min()


def test_snip_and_grasp_score_in_the_modes_of_their_authors_programs():
    # Not both in eval mode, as in the SynFlow program and its forks, nor both in train mode, as in mil-ad's port.
    assert (PRUNERS["snip"].mode, PRUNERS["grasp"].mode) == ("eval", "train")


def test_masking_piles_up_nothing_and_leaves_the_model_copyable(model, batches):
    masks = prune(model, "magnitude", 4)
    entries = list(model.state_dict())
    for _ in range(3):
        masking(model, masks)()
    model(batches[0][0])
    assert list(copy.deepcopy(model).state_dict()) == entries


def test_masks_change_the_models_own_tensors(model):
    masks = prune(model, "random", 4)
    weights = prunable(model)
    apply_masks(model, masks)
    assert all(int((weights[name] != 0).sum()) == int(mask.sum()) for name, mask in masks.items())


@pytest.mark.parametrize("name", OF_WEIGHTS)
@pytest.mark.parametrize("norm", [lambda: nn.GroupNorm(2, 4), lambda: nn.InstanceNorm2d(4), nn.Identity])
def test_other_normalisations(name, norm):
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm(), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = prune(model, name, 2, [(x, tensor([0, 2]))], mode="train", scope="global")
    assert sum(int(mask.sum()) for mask in masks.values()) == 114


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_a_last_batch_of_one(name, model, batches):
    x, y = batches[0]
    assert prune(model, name, 2, [(x[:1], y[:1])])


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_batches_are_drawn_once(name, model, batches):
    drawn = []

    def loader():
        for batch in batches:
            drawn.append(1)
            yield batch

    prune(model, name, 4, loader(), iterations=4)
    pruner = PRUNERS[name]
    assert len(drawn) == (2 if pruner.needs_data else 1 if pruner.needs_input else 0)  # of a shape one is enough


@pytest.mark.parametrize("name", OF_WEIGHTS)
def test_residual_networks_with_norms_of_any_name(name):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)
            self.downsample = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
            self.head = nn.Linear(2, 3)

        def forward(self, x):
            return self.head((self.conv(x) + self.downsample(x)).relu().mean((2, 3)))

    model = Block()
    statistics = model.downsample[1].running_mean.clone()
    x = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = prune(model, name, 2, [(x, tensor([0, 1, 2, 0]))], mode="train")
    assert list(masks) == ["conv.weight", "downsample.0.weight", "head.weight"]
    assert torch.equal(model.downsample[1].running_mean, statistics)
