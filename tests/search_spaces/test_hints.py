"""What a message suggests for names and values as people write them."""

from __future__ import annotations

import pytest

from search_spaces import SpaceError, load

SPACE = {"dataset": "digits", "architecture": "mlp", "pruner": "snip", "compression": 4}


@pytest.mark.parametrize(
    ("key", "meant"),
    [("learning_rate", "lr"),
     ("wd", "weight_decay"), ("model", "architecture"), ("seeds", "seed"), ("batch", "batch_size"),
     ("prunner", "pruner"), ("epoch", "epochs")],
)  # fmt: skip
def test_a_key_that_is_called_otherwise(key, meant):
    with pytest.raises(SpaceError) as refused:
        load(SPACE | {key: 1})
    said = str(refused.value)
    assert f"'{key}' is not known; did you mean '{meant}'?" in said
    assert len(said.partition("Allowed: ")[2].partition(" and ")[0].split(", ")) == 5


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("compression", 0.1, "a density is written density: 0.1, a sparsity sparsity: 0.1"),
        ("sparsity", 90, "90 % is written 0.9"),
        ("density", 5, "5 % is written 0.05"),
        ("seed", "4-0", "the first seed must not be above the last one"),
    ],
)
def test_a_value_that_is_meant_otherwise(key, value, hint):
    space = {name: set_to for name, set_to in SPACE.items() if name != "compression"}
    with pytest.raises(SpaceError) as refused:
        load(space | {key: value})
    assert str(refused.value).endswith(hint)


@pytest.mark.parametrize("written", ["0-4", "0..4", "0 - 4"])
def test_seeds_from_one_to_another(written):
    assert load(SPACE | {"seed": written}).axes["seed"] == (0, 1, 2, 3, 4)
