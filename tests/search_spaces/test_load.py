"""Spaces come from presets, files and mappings; overrides go on top."""

from __future__ import annotations

import pytest

from search_spaces import SpaceError, load, presets


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
