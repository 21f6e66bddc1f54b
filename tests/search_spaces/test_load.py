"""Spaces come from presets, files and mappings; overrides go on top."""

from __future__ import annotations

import re

import pytest

from search_spaces import SpaceError, load, presets
from search_spaces.load import _parse

BASE = {"dataset": "digits", "architecture": "mlp", "pruner": "snip"}


def test_presets_load_and_describe_themselves():
    found = presets()
    assert {"digits", "mnist-quick", "cifar10-quick"} <= found.keys()
    assert all(found.values())


def test_digits_is_sixty_cells():
    axes = load("digits").axes
    sizes = [len(axes[key]) for key in ("dataset", "architecture", "pruner", "compression", "seed")]
    assert sizes == [1, 2, 5, 6, 1]


def test_a_file_is_named_after_itself(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("dataset: digits\narchitecture: mlp\npruner: snip\ncompression: [1, 2]\n")
    assert load(file).name == "mine"
    file.write_text("name: other\n" + file.read_text())
    assert load(str(file)).name == "other"


def test_overrides_are_yaml_and_replace():
    space = load("digits", ["pruner=snip", "compression=[1, 100]", "lr=1e-3"])
    assert space.axes["pruner"] == ({"name": "snip"},)
    assert space.axes["compression"] == (1.0, 100.0)
    assert space.axes["lr"] == (0.001,)
    assert space.description == f"{load('digits').description} (changed: pruner, compression, lr)"


def test_an_override_may_write_the_compression_otherwise():
    assert load("digits", ["sparsity=0.9"]).axes["compression"] == (10.0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "a space is a mapping of fields, not list"),
        ("a: [1\n", "not valid YAML: while parsing a flow sequence in line 1, expected ',' or ']'"),
        ("[" * 3000, "nested too deeply"),
        ("? [a]\n: 1\n", "not valid YAML"),
        ("3: 1\n", "the key 3 is not a name"),
        ("lr: 1\nlr: 2\n", "'lr' is written twice"),
        ("!!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_files_that_are_no_spaces(tmp_path, text, message):
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(SpaceError) as caught:
        load(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_in_another_encoding(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes("dataset: digits\ndescription: Größe\n".encode("latin-1"))
    with pytest.raises(SpaceError, match=r"line 2 of '.*mine\.yaml' is not UTF-8; save the file as UTF-8$"):
        load(file)


def test_a_misspelt_file_is_found_beside_it(tmp_path):
    (tmp_path / "my-question.yaml").touch()
    with pytest.raises(SpaceError, match=r"there is no file '.*questoin\.yaml'; did you mean '.*my-question\.yaml'\?"):
        load(tmp_path / "my-questoin.yaml")
    with pytest.raises(SpaceError, match=r"'.*my-question' is not known; did you mean '.*my-question\.yaml'\?$"):
        load(tmp_path / "my-question")


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        ("digit", [], "space: 'digit' is not known; did you mean 'digits'?"),
        ("x" * 300, [], "is not known"),
        ("x" * 300 + ".yaml", [], "cannot be read"),
        ("nowhere.yaml", [], "there is no file 'nowhere.yaml'"),
        ("digits", ["pruner"], "write field=value"),
        ("digits", ["epoch=3"], "'epoch' is not known; did you mean 'epochs'?"),
        ("digits", ["lr=["], "not valid YAML"),
    ],
)
def test_wrong_sources_and_overrides(source, overrides, message):
    with pytest.raises(SpaceError) as caught:
        load(source, overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *(("064", 64), ("010", 10), ("08", 8), ("-07", -7), ("1_000", 1000), ("0x10", 16)),
        *(("1e-2", 0.01), ("-1E-3", -0.001), (".5e1", 5.0), ("1.5e3", 1500.0), ("12e-1", 1.2)),
        *(("2:4", "2:4"), ("1:2:3", "1:2:3"), ("1:30.5", "1:30.5"), ("007a", "007a"), ("1e", "1e")),
    ],
)
def test_numbers_are_read_as_people_write_them(written, read):
    assert _parse(f"value: {written}", "here") == {"value": read}


def test_a_whole_number_in_scientific_notation_is_a_count():
    space = load(BASE, ["batch_size=1e2", "epochs=3e0", "pruner={name: ntk-sap, epsilon: 1e-2}", "compression=1e1"])
    assert (space.axes["batch_size"], space.axes["epochs"], space.axes["compression"]) == ((100,), (3,), (10.0,))
    assert isinstance(_parse("1e2", "here"), int)
    assert space.axes["pruner"][0]["epsilon"] == 0.01


def test_merged_mappings_keep_their_own_keys(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(
        "dataset: digits\narchitecture: mlp\n"
        "pruner: [&s {name: synflow, iterations: 1}, {<<: *s, iterations: 100}, {<<: [*s], name: snip}]\n"
    )
    assert load(file).axes["pruner"] == (
        {"name": "synflow", "iterations": 1},
        {"name": "synflow", "iterations": 100},
        {"name": "snip", "iterations": 1},
    )
    file.write_text("dataset: digits\narchitecture: mlp\npruner: {name: snip, name: grasp}\n")
    with pytest.raises(SpaceError, match="'name' is written twice"):
        load(file)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (
            "early_stopping={name: asha, reduction: x}",
            "early_stopping: reduction: 'x' is not allowed; it must be a valid",
        ),
        ("search={trials: many}", "search: trials: 'many' is not allowed; it must be a valid integer"),
        ("search={sampler: tpe}", "search: trials: missing; it must be given"),
        ("batch_size={low: 16.5, high: 64}", "batch_size: 16.5 is not allowed; it must be a valid integer"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(extra, said):
    with pytest.raises(SpaceError, match=re.escape(said)):
        load(BASE, [extra])


def test_ends_of_a_range_have_the_type_of_the_field():
    space = load(BASE, ["batch_size={low: 16.0, high: 6.4e1}", "lr={low: 1, high: 10}", "search={trials: 3}"])
    assert space.searched["batch_size"].whole
    assert not space.searched["lr"].whole


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "s.yaml").write_text("# nothing yet\n")
    with pytest.raises(SpaceError, match="the file is empty; a space needs at least dataset"):
        load(tmp_path / "s.yaml")
