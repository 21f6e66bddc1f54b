"""A score in the user's own file: named in the space, part of the trial, nothing in the package touched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.planning.catalog import catalog
from search_spaces import SpaceError, Trial, expand, load
from trainables.context import Place
from trainables.run import run

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```python\n# my_file.py\n(.*?)```", PAGE, re.DOTALL).group(1)
BASE = {"dataset": "digits", "architecture": "mlp", "compression": [1, 4], "epochs": 1}


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "my_file.py"
    file.write_text(EXAMPLE)
    return file


def own(file, name="by_size_of_filter"):
    return expand(load(BASE | {"pruner": f"{file}:{name}"}), catalog())


def test_the_trial_needs_the_file_no_more(file, tmp_path):
    _, (_, trial) = own(file)
    file.unlink()
    again = Trial.model_validate_json(trial.model_dump_json())
    assert run(again, Place(storage=tmp_path / "a", cache=tmp_path / "data")).end == "finished"


def test_other_code_is_another_trial_and_another_place_is_not(file, tmp_path):
    first = own(file)[1][1]
    (tmp_path / "elsewhere").mkdir()
    moved = file.rename(tmp_path / "elsewhere" / "my_file.py")
    assert own(moved)[1][1] == first
    moved.write_text(EXAMPLE.replace("size * size", "size + size"))
    assert own(moved)[1][1].fingerprint != first.fingerprint
    assert len(first.params()["code"]) == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [("by_size_of_filtre", "Did you mean 'by_size_of_filter'?"), ("prunable", "must take")],
)
def test_what_is_no_score_is_refused(file, name, message):
    with pytest.raises(SpaceError) as caught:
        own(file, name)
    assert message in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpaceError, match="there is no file"):
        own(tmp_path / "none.py")
