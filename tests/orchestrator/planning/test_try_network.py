"""A plan takes every network that runs, and refuses in one line what can never train, before anything is written."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from orchestrator.planning.plan import plan
from orchestrator.sweep import main
from search_spaces import SpaceError, load
from search_spaces.network import Network
from trainables.architectures import build
from trainables.context import Place
from trainables.run import run

NETS = Path(__file__).parents[1] / "odd_nets.py"
FINISH = (
    "plain", "cumulative", "asks", "items", "bare_zeros", "with_numpy", "by_value", "lazy",
    "parallel", "parallel_inside", "from_numpy_draws", "sets_everything", "columns",
)  # fmt: skip
PLANNED = ("frozen", "tied", "backbone_without_grad", "Net")  # what their trials come to is tested with their costs
REFUSED = {
    "tuple_in_eval": r"it returns a tuple for two images of digits in eval mode; it must return \(2, 10\) logits",
    "tuple_in_train": r"it returns a Outputs for two images of digits in train mode; it must return \(2, 10\) logits",
    "mapping": r"it returns a dict for two images of digits in train mode; it must return \(2, 10\) logits",
    "classes_only": r"it returns a tensor \(2,\) of int64 for two images",
    "whole_numbers": r"it returns a tensor \(2, 10\) of int64 for two images",
    "flat": r"it returns a tensor \(20,\) for two images",
    "complex_logits": r"it returns a tensor \(2, 10\) of complex64 for two images",
    "no_gradient": "its logits depend on no parameter that requires gradients, so nothing can train",
    "never_finite": "its logits are NaN or infinite",
    "dies_in_eval": "it does not run in eval mode on the 1x8x8 images of digits: ZeroDivisionError",
    "leaves": "it does not run on the 1x8x8 images of digits: SystemExit: bye",
    "all_frozen": "no parameter requires gradients, so nothing can train",
    "halved": "its parameter 0.weight is float16; build it in float32",
    "doubled": "it does not run on the 1x8x8 images of digits: RuntimeError",
    "no_parameters": "it has no parameters; there is nothing to train",
    "nothing": "it returns nothing; it must return an nn.Module",
    "the_class": "it returns the class Net; it must return an object of that class",
    "a_list": "it returns a list; it must return an nn.Module",
    "on_meta": "its parameter 0.weight has no values: it is on the meta device",
    "exits": "SystemExit: bye",
    "fails": "ZeroDivisionError: division by zero",
    "complex_weights": "its parameter 0.phase is complex64; only float32 weights are trained",
    "whole_weights": "its parameter 0.table is int64; only float32 weights are trained",
    "views": "its parameters 1.bias and 4.bias share memory without being one parameter",
    "expanded": "several elements of its parameter 0.bias share memory",
    "extra_state": "its state_dict holds 8._extra_state, which is a dict and not a tensor",
    "MadeLate": "its first forward pass makes or changes the parameter head.weight",
    "lazy_and_unused": "its lazy layers take no part in the forward pass: other",
    "drawn_elsewhere": "two builds with one seed differ in 0.weight",
    # 640 weights of the head, of 72 + 576 + 80 + 640.
    "idle": r"layer head takes no part in the forward pass: 47 % of its prunable weights can never train",
    "in_training": r"layer head takes no part in the forward pass of a test: 47 % of its prunable weights",
    "shrinks": r"42 % of its prunable weights can never train .* its feature maps shrink to one pixel",
    "sliced": r"50 % of its prunable weights can never train .* most of them are in layer 1\.",
}


def planned(name, tmp_path, **fields):
    space = {"dataset": "digits", "architecture": f"{NETS}:{name}", "pruner": "snip", "compression": 2}
    return plan(load(space | {"epochs": 1, "batch_size": 256} | fields), cache=tmp_path / "data")


@pytest.mark.parametrize("name", FINISH)
def test_what_runs_is_planned_and_its_trial_finishes(name, tmp_path):
    (trial,) = planned(name, tmp_path).trials
    outcome = run(trial, Place(storage=tmp_path / "trials", cache=tmp_path / "data"))
    assert (outcome.end, outcome.error) == ("finished", "")


@pytest.mark.parametrize("name", PLANNED)
def test_what_runs_is_planned(name, tmp_path):
    assert planned(name, tmp_path).notices == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_never_work_is_refused_in_one_line(name, tmp_path):
    with pytest.raises(SpaceError, match=REFUSED[name]) as refusal:
        planned(name, tmp_path)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"architecture odd_nets.py:{name}: ")


def test_layers_without_a_part_in_it_are_accepted_where_they_are_kept_dense(tmp_path):
    assert planned("idle", tmp_path, architecture={"name": f"{NETS}:idle", "keep_dense": ["head.*"]}).notices == ()


def test_a_refusal_is_exit_code_2_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text(
        yaml.safe_dump({"dataset": "digits", "architecture": f"{NETS}:all_frozen", "pruner": "magnitude"})
    )
    assert main(["s.yaml", "--dry-run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [file.name for file in Path().iterdir()] == ["s.yaml"]


def test_a_network_that_fails_on_a_larger_batch_only_is_one_line_of_the_estimate(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("few.py").write_text(
        "from torch import nn\nclass Few(nn.Module):\n"
        "    def __init__(self, shape, classes):\n        super().__init__()\n"
        "        self.fc = nn.Linear(64, classes)\n"
        "    def forward(self, x):\n        assert len(x) <= 2, 'too many'\n        return self.fc(x.flatten(1))\n"
    )
    Path("s.yaml").write_text(
        yaml.safe_dump({"dataset": "digits", "architecture": "few.py:Few", "pruner": "magnitude", "compression": 2})
    )
    assert main(["s.yaml", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "architecture few.py:Few: it does not train on" in error
    assert "AssertionError: too many" in error
    assert error.count("\n") == 1


def test_seeds_that_change_no_weights_are_told(tmp_path):
    (notice,) = planned("sets_everything", tmp_path, seed=[0, 1]).notices
    assert "every seed gives it the same initial weights" in notice
    assert planned("lazy", tmp_path, seed=[0, 1]).notices == ()


def own(name, seed=0):
    return build(Network(f"odd_nets.py:{name}", code=NETS.read_text()), (1, 8, 8), 10, seed).state_dict()


@pytest.mark.parametrize("name", ["lazy", "LazyInTraining", "from_numpy_draws"])
def test_a_seed_gives_one_draw_whatever_was_drawn_before(name):
    first = own(name)
    torch.rand(3), np.random.rand(3), random.random()
    again, other = own(name), own(name, seed=1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    assert all(torch.equal(first[key], torch.ones_like(first[key])) for key in first if key.endswith("running_var"))


def test_wrappers_are_taken_off_and_names_are_the_inner_networks():
    assert list(own("parallel")) == list(own("plain"))
    assert [key for key in own("parallel_inside") if "module" in key] == []
    assert all(torch.equal(a, b) for a, b in zip(own("parallel").values(), own("plain").values(), strict=True))


def test_a_build_leaves_the_process_as_it_was():
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    draws = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    own("sets_everything")
    assert (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()) == before
    assert random.getstate() == draws[0]
    assert torch.equal(torch.get_rng_state(), draws[1])
    assert (np.random.get_state()[1] == draws[2]).all()
    assert not torch.backends.cudnn.benchmark


def test_a_built_in_network_draws_what_it_always_drew():
    """By hand: the first layer of `conv` under the generator seeded as the trial's weights are."""
    from trainables.architectures import lookup
    from trainables.randomness import seeded

    with seeded(3, "weights"):
        expected = lookup("conv").make((1, 8, 8), 10).state_dict()
    found = build("conv", (1, 8, 8), 10, seed=3).state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert isinstance(build("conv", (1, 8, 8), 10, seed=3), nn.Module)
