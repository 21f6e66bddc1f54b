"""Every preset of a paper is its program's recipe, field by field, but for the differences that are written down."""

from __future__ import annotations

import json
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace

import pytest
from as_published import table

from orchestrator.planning.catalog import catalog
from orchestrator.report.published import for_trial, published_rows
from orchestrator.report.published_recipes import as_published, of_preset, recipe_differences, recipes
from orchestrator.report.recipe_fields import same
from orchestrator.report.trial_recipe import facts, parameters, rates
from orchestrator.sweep import main
from search_spaces import Network, Trial, expand, load
from search_spaces.phases import PHASES, RECIPE

ROOT = Path(__file__).parents[2]
PAPERS = sorted(file.stem for file in (ROOT / "search_spaces" / "papers").glob("*.yaml"))
PROGRAMS = json.loads((Path(__file__).parent / "programs.json").read_text(encoding="utf-8"))
MADE = SimpleNamespace(fields={"mask": "0" * 64, "pruner": "snip", "compression": 10.0})  # masks that a user has


def sweep(preset, *overrides):
    return expand(load(preset, overrides), catalog(mask=lambda asked: MADE))


@pytest.mark.parametrize("preset", PAPERS)
def test_a_preset_is_the_recipe_but_for_what_is_listed(preset):
    recipe = of_preset(preset)
    assert recipe is not None
    found = {(one.field, one.theirs, one.ours) for one in recipe_differences(recipe, *sweep(preset))}
    assert found == {(one.field, one.theirs, one.ours) for one in recipe.known}
    assert all(one.why for one in recipe.known)


def test_every_recipe_says_where_it_was_read():
    for recipe in recipes():
        assert recipe.files and (not recipe.repository or len(recipe.commit) == 40)
    assert sorted(preset for recipe in recipes() for preset in recipe.presets) == PAPERS


@pytest.mark.parametrize("preset", [name for name in PROGRAMS["learning rates"] if name != "of"])
def test_the_rate_of_every_epoch_is_the_programs(preset):
    told = PROGRAMS["learning rates"][preset]
    fall = [told["factor"] if done in told["drops"] else 1 for done in range(1, told["epochs"])]
    wanted = list(accumulate([told["lr"], *fall], lambda rate, factor: rate * factor))
    trial = sweep(preset)[1][0]
    changes = rates(trial.epochs, trial.lr, trial.lr_schedule, trial.lr_drops, trial.lr_factor)
    ours = [changes[max(first for first in changes if first <= epoch)] for epoch in range(1, trial.epochs + 1)]
    assert ours == pytest.approx(wanted)


def test_the_network_beside_published_numbers_is_theirs():
    counted = {name: told for name, told in PROGRAMS["parameters"].items() if name != "of"}
    pairs = {(row.network, row.dataset, row.architecture) for row in published_rows() if row.network in counted}
    found = {(network, dataset): parameters(Network(ours), dataset) for network, dataset, ours in pairs}
    assert found == {(network, dataset): counted[network][dataset] for network, dataset in found}
    assert {network for network, *_ in pairs} == set(counted)


def test_the_filter_level_vgg_is_not_the_small_one():
    rows = [row for row in published_rows() if row.source.startswith("SNIP-filter-level") and row.network == "vgg16_bn"]
    assert {row.architecture for row in rows} == {"torchvision/vgg16_bn"}
    assert parameters(Network("torchvision/vgg16_bn"), "cifar10") == 134_309_962  # models/build_model.py at c8d0868
    dense = Trial(dataset="cifar10", architecture="vgg16-bn")
    assert not any(row.source.startswith("SNIP-filter-level") for row in for_trial(dense, "dense"))


def test_what_a_user_changes_is_told_and_the_reasons_stay():
    said = [line.strip() for line in as_published("cos598d-mnist", *sweep("cos598d-mnist", "epochs=10", "lr=0.01"))]
    assert said[0] == "as published: COS598D, except for"
    assert "learning_rate: 0.001 there, 0.01 here" in said
    assert not any(line.startswith("epochs") for line in said)
    assert any("plain and of any class there" in line and "a function of the seed" in line for line in said)
    assert as_published("my-own", *sweep("cos598d-mnist")) == []


def test_of_whom_a_difference_is_stands_before_it():
    cells, trials = sweep("synflow-cifar-vgg", "compression=[10]", "seed=[0, 1, 2]", "iterations=1")
    assert "    synflow: iterations: 100 there, 1 here" in as_published("synflow-cifar-vgg", cells, trials)


def test_a_space_without_the_papers_images_is_compared_in_what_is_left():
    said = as_published("cos598d-mnist", *sweep("cos598d-mnist", "dataset=digits"))
    assert "    dataset: mnist there, digits here" in said
    assert not any(line.startswith("    parameters") for line in said)


def test_a_dry_run_says_so(tmp_path, capsys):
    words = ("cos598d-mnist", "--dry-run", "--set", "dataset=digits", "--output", str(tmp_path))
    assert main(words) == 0
    assert "as published: COS598D, except for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "theirs", "ours", "equal"),
    [
        ("normalisation", [[0.491], [0.247]], [(0.4914,), (0.2470,)], True),  # their three digits
        ("normalisation", [[0.4914], [0.2023]], [(0.4914,), (0.2470,)], False),  # GraSP's deviations
        ("compression", [9.31323], [9.31099], True),  # 89.26 %
        ("compression", [10.0], [20.0], False),
        ("learning_rate", {1: 0.1, 61: 0.01}, {1: 0.1, 61: 0.010000000000000002}, True),
        ("learning_rate", {1: 0.1, 61: 0.01}, {1: 0.1, 60: 0.01}, False),
        ("iterations", [1, 5, 10], 5, True),  # the values of a study
        ("iterations", [1, 5, 10], 6, False),
        ("augment", {"pad": 4, "flip": True}, {"pad": 8, "flip": True}, False),
        ("weight_decay", 1e-4, 5e-4, False),
        ("mode", "eval", "train", False),
    ],
)
def test_values_are_equal_up_to_the_digits_that_programs_give(name, theirs, ours, equal):
    assert same(name, theirs, ours) is equal


def test_the_values_of_a_study_are_all_there():
    for preset in (name for name in PAPERS if name.startswith("ntk-sap-ablation")):
        pruner = of_preset(preset).pruners["ntk-sap"]
        for name, values in pruner.items():
            if isinstance(values, list):
                assert {facts(trial, ())[name] for trial in sweep(preset)[1] if trial.pruner != "dense"} == set(values)


def test_the_table_of_the_page_is_that_of_the_data():
    assert table() in (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")


CHANGES = {  # another value of each setting of training
    "epochs": 161,
    "batch_size": 100,
    "optimizer": "adam",
    "lr": 0.3,
    "momentum": 0.5,
    "nesterov": False,
    "weight_decay": 0.01,
    "lr_schedule": "cosine",
    "lr_drops": (5,),
    "lr_factor": 0.3,
    "augment": "none",
    "warmup_epochs": 3,
    "label_smoothing": 0.1,
    "rand_augment": 9,
    "random_erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
    "accumulate": 4,
    "ema": 0.999,
    "precision": "bfloat16",
}


@pytest.mark.parametrize("name", CHANGES)
def test_no_setting_of_training_is_changed_without_a_word(name):
    recipe, (cells, trials) = of_preset("synflow-cifar-vgg"), sweep("synflow-cifar-vgg")
    changed = [trial.model_copy(update={name: CHANGES[name]}) for trial in trials]
    known = {one.line for one in recipe_differences(recipe, cells, trials)}
    assert {one.line for one in recipe_differences(recipe, cells, changed)} - known


def test_every_setting_of_training_was_tried():
    # cuDNN's choice of kernels is no part of a recipe; phases are compared pruner by pruner
    assert {*RECIPE} - {*PHASES, "cudnn_benchmark"} == {*CHANGES}
