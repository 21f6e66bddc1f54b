"""YAML as people write it: the value that was meant, or one line that names what is wrong."""

from __future__ import annotations

import datetime
import re

import pytest

from search_spaces import SpaceError, load

BASE = "dataset: digits\narchitecture: mlp\npruner: snip\n"

MEANT = {  # what is added to a space -> the values of its axis
    "seed: +1": ("seed", (1,)),
    "seed: 010": ("seed", (10,)),
    "seed: 0x10": ("seed", (16,)),
    "seed: 0b11": ("seed", (3,)),
    "seed: '1'": ("seed", (1,)),
    "seed: 1.0": ("seed", (1,)),
    "seed: [1, 2,]": ("seed", (1, 2)),
    "seed:\n- 1\n- 2": ("seed", (1, 2)),
    "seed: [1,\n  2]": ("seed", (1, 2)),
    "seed: 1 # one": ("seed", (1,)),
    "seed: 1\n...": ("seed", (1,)),
    "batch_size: 1_000": ("batch_size", (1000,)),
    "lr: 1e-3": ("lr", (0.001,)),
    "lr: 1.e-3": ("lr", (0.001,)),
    "lr: '1e-3'": ("lr", (0.001,)),
    "lr: .1": ("lr", (0.1,)),
    "lr: &rate 0.1\nweight_decay: *rate": ("weight_decay", (0.1,)),
    "nesterov: yes": ("nesterov", (True,)),
    "nesterov: on": ("nesterov", (True,)),
    "nesterov: [True, FALSE]": ("nesterov", (True, False)),
    "compression: 10": ("compression", (10.0,)),
    "sparsity: 0.9": ("compression", (10.0,)),
}

WRONG = {  # what is added to a space -> what the line says
    "seed: yes": "seed: True is not allowed; it must be a number or a word",
    "seed:": "seed: nothing is not allowed; it must be a valid integer",
    "seed: ~": "seed: nothing is not allowed",
    "seed: [0, null]": "seed: nothing is not allowed",
    "seed: [1, , 2]": "not valid YAML: while parsing a flow node in line 4",
    "seed: 1.5": "seed: 1.5 is not allowed; it must be a valid integer",
    "seed: -1": "seed: -1 is not allowed; it must be greater than or equal to 0",
    "seed: 4-1": "seed: '4-1' is not allowed",
    "epochs: 1-4": "epochs: '1-4' is not allowed",
    "seed: range(5)": "seed: 'range(5)' is not allowed",
    "seed: [[0, 1], [2]]": "seed: [0, 1] is not a single value",
    "seed: {0, 1}": "the key 0 is not a name",
    "seed: 2026-01-01": f"seed: {datetime.date(2026, 1, 1)!r} is not allowed",
    "seed:\u00a01": "not valid YAML",
    "seed: \uff11": "seed: '\uff11' is not allowed",
    "seed: [1, 1.0]": "seed: 1.0 is listed twice",
    "seed: 1\nseed: 2": "'seed' is written twice",
    "seed: 1\n---\nseed: 2": "expected a single document",
    "Seed: 1": "'Seed' is not known; did you mean 'seed'?",
    "batch-size: 64": "'batch-size' is not known; did you mean 'batch_size'?",
    "batch_size: 1,000": "batch_size: '1,000' is not allowed",
    "sparsity: 90%": "sparsity: '90%' is not allowed; it must be a valid number",
    "density: 1/3": "density: '1/3' is not allowed",
    "compression: 10x": "compression: '10x' is not allowed",
    "lr: .nan": "lr: nan is not allowed; it must be a finite number",
    "lr: .inf": "lr: inf is not allowed",
    "lr: 1e400": "lr: inf is not allowed",
    "lr: 0.1 0.2": "lr: '0.1 0.2' is not allowed",
    "lr: ${lr}": "lr: '${lr}' is not allowed",
    "lr: {{ lr }}": "is not a name",
    "lr: *rate": "undefined alias 'rate' in line 4",
    "weight_decay: \u22121": "weight_decay: '\u22121' is not allowed",
    "name: yes": "name: True is not a name; write it as text",
    "name: 7": "name: 7 is not a name",
    "name: !!binary aGk=": "is not a name",
    "name: a\0b": "not valid YAML",
    " lr: 1": "not valid YAML",
    "seed: 1\t": "found character '\\t' that cannot start any token in line 4",
    "mode:\n\tname: train": "found character '\\t' that cannot start any token in line 5",
}


def loaded(tmp_path, text: str | bytes):
    file = tmp_path / "space.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file)


@pytest.mark.parametrize("added", MEANT)
def test_what_was_meant(added, tmp_path):
    key, values = MEANT[added]
    found = loaded(tmp_path, f"{BASE}{added}\n").axes[key]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize("added", WRONG)
def test_what_is_wrong(added, tmp_path):
    with pytest.raises(SpaceError, match=re.escape(WRONG[added])) as refused:
        loaded(tmp_path, f"{BASE}{added}\n")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{BASE}seed: 1\n",
        f"{BASE}seed: 1\n".replace("\n", "\r\n"),
        f"{BASE}seed: 1\n".replace("\n", "\r"),
        f"---\n{BASE}seed: 1\n",
        f"%YAML 1.1\n---\n{BASE}seed: 1\n",
        f"{BASE}seed: 1",
        "{dataset: digits, architecture: mlp, pruner: snip, seed: 1}",
        '{"dataset": "digits", "architecture": "mlp", "pruner": "snip", "seed": 1}',
    ],
    ids=["BOM", "CRLF", "CR", "document", "version", "no end of line", "flow", "JSON"],
)
def test_files_of_any_editor(text, tmp_path):
    axes = loaded(tmp_path, text).axes
    assert axes == loaded(tmp_path, f"{BASE}seed: 1\n").axes
    assert axes["seed"] == (1,)


def test_another_encoding_is_named(tmp_path):
    with pytest.raises(SpaceError, match="is not UTF-8; save the file as UTF-8"):
        loaded(tmp_path, BASE.encode("utf-16"))


def test_an_axis_of_five_thousand_values(tmp_path):
    space = loaded(tmp_path, f"{BASE}seed: {list(range(5000))}\n")
    assert space.axes["seed"] == tuple(range(5000))
    assert space.size == 5000
