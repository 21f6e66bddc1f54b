import pytest
import torch
from torch import nn

from pruners import PRUNERS, PruningError, find, lookup, prunable, prune

FILE = '''
"""A user's file."""
from pruners import Pruner, prunable

def largest_first(model, batches, *, mode, generator):
    """Weights by their value.

    More words."""
    return {name: weight.detach().clone() for name, weight in prunable(model).items()}

def powered(model, batches, *, mode, generator, power):
    return {name: weight.detach().abs() ** power for name, weight in prunable(model).items()}

def wrong(model):
    return {}

MyScore = Pruner(score=powered, summary="|w|^power", paper="", options={"power": 2.0}, iterations=3)
NUMBER = 3
class Score:
    pass
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_file.py"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_a_function_is_a_pruner(file):
    layer = nn.Linear(4, 1)
    layer.weight.data = torch.tensor([[-4.0, 1.0, 2.0, -3.0]])
    pruner = lookup(f"{file}:largest_first")
    assert pruner.summary == "Weights by their value."
    data = [(torch.ones(1, 4), torch.zeros(1, dtype=torch.int64))]
    assert prune(layer, f"{file}:largest_first", 2, data)["weight"].tolist() == [[False, True, True, False]]


def test_a_pruner_brings_its_options(file, model):
    scores = find(model, f"{file}:MyScore", 1, options={"power": 3}).scores
    assert torch.equal(scores["head.weight"], prunable(model)["head.weight"].detach().abs() ** 3)
    assert lookup(f"{file}:MyScore").settings().iterations == 3


def test_from_the_folder_one_is_in(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert lookup("my_file.py:MyScore").options == {"power": 2.0}


def test_the_package_is_not_touched(file):
    before = list(PRUNERS)
    lookup(f"{file}:MyScore")
    assert list(PRUNERS) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other.py:MyScore", r"there is no file '.*other\.py'"),
        ("my_file.py:MyScor", r"name in my_file\.py 'MyScor'.*Did you mean 'MyScore'"),
        ("my_file.py:NUMBER", r"is of type int; it must be a pruners\.Pruner or a score function"),
        ("my_file.py:Score", r"is a class; it must be"),
        ("my_file.py:wrong", r"must take \(model, batches, \*, mode, generator\)"),
        ("latin.py:MyScore", r"line 2 of latin\.py is not UTF-8; save the file as UTF-8"),
        (f"{'x' * 300}.py:MyScore", "cannot be read: File name too long"),
        ("broken.py:MyScore", r"running broken\.py raised ZeroDivisionError: division by zero"),
    ],
)
def test_refusals_in_one_line(file, name, message):
    forgotten = "import sys\nsys.modules.pop(__name__)\n"  # as another thread does in which it fails too
    (file.parent / "broken.py").write_text(f"{forgotten}1 / 0\n", encoding="utf-8")
    (file.parent / "latin.py").write_bytes("import torch\n# Größe\n".encode("latin-1"))
    with pytest.raises(PruningError, match=message) as refusal:
        lookup(str(file.parent / name))
    assert "\n" not in str(refusal.value)
