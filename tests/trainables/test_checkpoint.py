"""A file is complete or not there."""

from __future__ import annotations

import pytest
import torch

from trainables import checkpoint

CPU = torch.device("cpu")


def test_what_is_saved_comes_back(tmp_path):
    checkpoint.save(tmp_path / "c.pt", {"w": torch.tensor([1.0, 2.0]), "epoch": 3})
    state = checkpoint.load(tmp_path / "c.pt", CPU)
    assert state is not None
    assert state["epoch"] == 3
    assert state["w"].tolist() == [1.0, 2.0]
    assert checkpoint.load(tmp_path / "none.pt", CPU) is None


def test_a_write_that_breaks_leaves_the_old_file_and_nothing_else(tmp_path):
    checkpoint.save(tmp_path / "c.pt", {"epoch": 1})

    def breaks(path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoint.write_atomically(tmp_path / "c.pt", breaks)
    assert checkpoint.load(tmp_path / "c.pt", CPU) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


class Harmful:
    def __reduce__(self):
        return print, ("executed",)


def test_a_pickle_is_not_executed(tmp_path, capsys):
    torch.save({"w": Harmful()}, tmp_path / "c.pt")
    assert checkpoint.load(tmp_path / "c.pt", CPU) is None
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04half a zip"])
def test_what_cannot_be_read_is_set_aside(tmp_path, content):
    (tmp_path / "c.pt").write_bytes(content)
    assert checkpoint.load(tmp_path / "c.pt", CPU) is None
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt.damaged"]
