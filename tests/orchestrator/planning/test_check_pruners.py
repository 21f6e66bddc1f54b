"""What would train without meaning anything is refused, unless asked for all the same."""

from __future__ import annotations

import pytest
from torch import nn

from orchestrator.planning import check_networks, check_pruners
from orchestrator.planning.plan import plan
from search_spaces import SpaceError, load
from trainables.architectures import ARCHITECTURES, Architecture

BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "synflow", "compression": [1, 2]}


def saturating(shape, classes):
    return nn.Sequential(nn.Conv2d(shape[0], 8, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(8 * 36, classes))


@pytest.fixture
def relu6(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "relu6", Architecture(saturating, "for this test", min_size=3))
    yield "relu6"
    check_networks.outline.cache_clear()
    check_networks.model_of.cache_clear()
    check_pruners._concerns.cache_clear()


def test_synflow_on_relu6_is_refused_with_the_remedy(relu6, tmp_path):
    with pytest.raises(SpaceError, match=r"architecture relu6: synflow: .*ReLU6.*linearize: true.*--force"):
        plan(load(BASE | {"architecture": relu6}), cache=tmp_path)


def test_force_runs_it_and_says_why_not(relu6, tmp_path):
    made = plan(load(BASE | {"architecture": relu6}), cache=tmp_path, force=True)
    assert any("ReLU6" in notice for notice in made.notices)


def test_the_remedy_is_accepted(relu6, tmp_path):
    pruner = {"name": "synflow", "linearize": True}
    assert plan(load(BASE | {"architecture": relu6, "pruner": pruner}), cache=tmp_path).notices == ()


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_the_houses_own_networks_raise_no_concern(architecture, tmp_path):
    assert plan(load(BASE | {"architecture": architecture}), cache=tmp_path).notices == ()


def test_filters_beyond_reach(tmp_path):
    with pytest.raises(SpaceError, match=r"architecture conv: Unreachable filter compression 5000x"):
        plan(load(BASE | {"architecture": "conv", "granularity": "filter", "compression": 5000}), cache=tmp_path)


def test_a_granularity_that_disagrees_with_the_compression(tmp_path):
    with pytest.raises(SpaceError, match=r"granularity 2:4 keeps 2 of 4"):
        plan(load(BASE, ["granularity=2:4", "compression=3"]), cache=tmp_path)
    assert len(plan(load(BASE, ["granularity=2:4", "compression=2"]), cache=tmp_path).trials) == 1


def test_a_pruner_by_weight_decay_without_any_is_remarked(tmp_path):
    asked = BASE | {"pruner": "str", "epochs": 4}
    (notice,) = plan(load(asked | {"weight_decay": 0}), cache=tmp_path).notices
    assert notice.startswith("pruner str: weight_decay is 0, so its thresholds do not rise")
    assert plan(load(asked | {"weight_decay": 1e-4}), cache=tmp_path).notices == ()


def test_what_saves_no_time_is_remarked(tmp_path):
    asked = BASE | {"pruner": "magnitude", "compression": 2, "granularity": "2:4"}
    (notice,) = plan(load(asked), cache=tmp_path).notices
    assert notice.startswith("granularity 2:4: its zeros bring no speed on this machine")
    heads = {"dataset": "synthetic-32", "pruner": "magnitude", "granularity": "head", "kappa": 0.3}
    for architecture, count in (("swin-tiny", 1), ({"name": "vit-tiny", "depth": 1}, 0)):
        notices = plan(load(heads | {"architecture": architecture}), cache=tmp_path).notices
        assert [notice for notice in notices if "masked but not removed" in notice] == list(notices)[:count]
