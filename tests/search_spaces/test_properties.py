"""What holds for any space: it is refused in one line, or its trials are those that it asks for."""

from __future__ import annotations

import io
import math
from contextlib import redirect_stderr, redirect_stdout
from functools import cache

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.planning.catalog import catalog
from orchestrator.sweep import main
from search_spaces import EarlyStopping, Search, SpaceError, Trial, expand, load, presets, studies
from search_spaces.load import _preset_files as preset_files
from search_spaces.network import COMMON
from search_spaces.point import SHARED
from search_spaces.space import KEYS
from trainables.architectures import ARCHITECTURES

settings.register_profile(
    "house", deadline=None, derandomize=True, database=None, print_blob=False
)  # the same on every machine
settings.load_profile("house")

BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "snip", "compression": 10}
NAMES = catalog()

odd_words = st.sampled_from(
    ["", "snip", "synflow", "dense", "2:4", "../x.py:f", "mlp", "nan", "\x00", "é\n", "1e400", "-"]
)
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([10**30, -(10**400), 0.0, -0.0, 0.5, 1e308, math.inf, -math.inf, math.nan]),
    odd_words,
    st.text(max_size=5),
)
inner_keys = st.sampled_from(
    ["name", "iterations", "low", "high", "choices", "log", "drops", "trials", "width", "first"]
)
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(inner_keys | st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(KEYS) | st.text(max_size=6)


def ask(raw):
    """All that a space gives, or None if it was refused as it should be: in one line that a terminal can show."""
    try:
        space = load(raw)
        cells, trials = expand(space, NAMES)
        searched = studies(space, NAMES)
        return space, cells, trials, searched
    except SpaceError as refusal:
        assert str(refusal).isprintable()
        return None


@given(st.dictionaries(keys, values, max_size=4))
@settings(max_examples=400)
def test_whatever_is_written_is_a_space_or_refused_in_one_line(raw):
    ask(BASE | raw)


@given(st.sampled_from(KEYS), values)
@settings(max_examples=600)
@example("search", {"trials": 1, "first": [[1]]})
def test_so_is_any_value_of_any_key(key, value):
    ask(BASE | {key: value})


OPTIONS = sorted({option for traits in NAMES.pruners.values() for option in traits.options})
nearly_right = st.one_of(
    st.tuples(st.just("pruner"), st.sampled_from(list(NAMES.pruners)), st.sampled_from([*OPTIONS, *SHARED, "kappa"])),
    st.tuples(
        st.just("architecture"), st.sampled_from(list(ARCHITECTURES)), st.sampled_from(["width", "depth", *COMMON])
    ),
    st.tuples(
        st.just("lr_schedule"), st.sampled_from(["constant", "step", "cosine"]), st.sampled_from(["drops", "factor"])
    ),
    st.tuples(
        st.just("early_stopping"),
        st.sampled_from(["asha", "median"]),
        st.sampled_from(list(EarlyStopping.model_fields)),
    ),
)


@given(nearly_right, values)
@settings(max_examples=400)
def test_so_is_any_setting_of_any_choice(choice, value):
    key, name, setting = choice
    ask(BASE | {key: {"name": name} | {setting: value}})


@given(st.sampled_from(list(Search.model_fields)), values, st.sampled_from([{}, {"lr": {"low": 0.1, "high": 0.2}}]))
@settings(max_examples=200)
def test_so_is_any_setting_of_a_search(setting, value, searched):
    ask(BASE | searched | {"validation": 0.1, "search": {"trials": 2} | {setting: value}})


@cache
def texts():
    return {name: file.read_text(encoding="utf-8") for name, file in preset_files().items()}


@given(st.data())
@settings(max_examples=100)
def test_a_damaged_file_never_gives_a_traceback(tmp_path_factory, data):
    text = texts()[data.draw(st.sampled_from(["digits", "cifar10-quick", "grasp-vgg19", "synflow-singleshot"]))]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    bit = data.draw(st.sampled_from(["", "[", "]: ", "{", "&a *a", "- ", "\t", "!!python/none", "9" * 40]))
    folder = tmp_path_factory.mktemp("damaged")
    file = folder / "space.yaml"
    file.write_text(text[:start] + bit + text[end:], encoding="utf-8")
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main([str(file), "--dry-run", "--output", str(folder / "results"), "--set", "dataset=digits"])
    assert code == 0 or (code == 2 and len(said.getvalue().splitlines()) == 1)
    assert list(folder.iterdir()) == [file]


axis = {
    "pruner": st.sampled_from(["random", "magnitude", "snip", "grasp", "synflow"]),
    "compression": st.sampled_from([1, 2, 3.16, 10, 1000]),
    "architecture": st.sampled_from(["mlp", "conv"]),
    "seed": st.integers(0, 5),
    "lr": st.sampled_from([0.01, 0.1]),
    "epochs": st.integers(0, 3),
}
grids = st.fixed_dictionaries(
    {key: st.lists(value, min_size=1, max_size=3, unique=True) for key, value in axis.items()}
)


def prints(raw):
    return {trial.fingerprint for trial in expand(load(raw), NAMES)[1]}


@given(grids)
def test_every_combination_is_a_cell_and_every_cell_has_its_trial_once(grid):
    cells, trials = expand(load(BASE | grid), NAMES)
    assert len(cells) == math.prod(map(len, grid.values()))
    others = math.prod(len(values) for key, values in grid.items() if key not in ("pruner", "compression"))
    pruned = sum(compression > 1 for compression in grid["compression"])
    assert len(trials) == others * (len(grid["pruner"]) * pruned + (1 in grid["compression"]))
    assert {cell.fingerprint for cell in cells} == {trial.fingerprint for trial in trials}


@given(grids, st.randoms(use_true_random=False))
def test_the_order_of_keys_and_values_asks_for_the_same_trials(grid, order):
    shuffled = {key: order.sample(grid[key], len(grid[key])) for key in order.sample(list(grid), len(grid))}
    assert prints(BASE | shuffled) == prints(BASE | grid)


@given(grids)
def test_a_larger_grid_keeps_the_trials_of_a_smaller_one(grid):
    smaller = {key: values[:1] for key, values in grid.items()}
    assert prints(BASE | smaller) <= prints(BASE | grid)


@given(grids)
def test_a_trial_survives_its_record(grid):
    for trial in expand(load(BASE | grid), NAMES)[1]:
        again = Trial.model_validate_json(trial.model_dump_json())
        assert (again, again.fingerprint, again.config) == (trial, trial.fingerprint, trial.config)
        assert trial.model_copy(update={"seed": trial.seed + 1}).config == trial.config


@given(st.floats(1, 1e6))
def test_density_and_sparsity_say_what_compression_says(compression):
    told = load(BASE | {"compression": compression}).axes["compression"][0]
    (density,) = load({k: v for k, v in BASE.items() if k != "compression"} | {"density": 1 / compression}).axes[
        "compression"
    ]
    assert told == compression and math.isclose(density, compression, rel_tol=1e-11)


@pytest.mark.parametrize("name", presets())
def test_a_preset_written_out_again_asks_the_same(name):
    raw = yaml.safe_load(texts()[name].replace("2:4", "'2:4'"))
    assert load(raw | {"name": name}).axes == load(name).axes
