"""A file is complete or not there."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import torch

from trainables.record import checkpoint
from trainables.record.files import create_database, write_atomically

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
        write_atomically(tmp_path / "c.1.pt", breaks)
    assert checkpoint.load(tmp_path / "c.pt", CPU) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["c.1.pt"]


class Harmful:
    def __reduce__(self):
        return print, ("executed",)


def test_a_pickle_is_not_executed(tmp_path, capsys):
    torch.save({"w": Harmful()}, tmp_path / "c.1.pt")
    assert checkpoint.load(tmp_path / "c.pt", CPU) is None
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04half a zip"])
def test_what_cannot_be_read_is_set_aside(tmp_path, content):
    (tmp_path / "c.1.pt").write_bytes(content)
    assert checkpoint.load(tmp_path / "c.pt", CPU) is None
    assert [path.name for path in tmp_path.iterdir()] == ["c.1.pt.damaged"]


def test_the_last_two_are_kept(tmp_path):
    for epoch in range(1, 13):
        checkpoint.save(tmp_path / "c.pt", {"epoch": epoch})
    assert {path.name for path in tmp_path.iterdir()} == {"c.12.pt", "c.11.pt"}
    assert checkpoint.load(tmp_path / "c.pt", CPU) == {"epoch": 12}
    checkpoint.remove(tmp_path / "c.pt")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_of_one_goes_with_all_others(tmp_path):
    checkpoint.save(tmp_path / "c.pt", {"epoch": 1})
    for name in (".c.2.pt.0123abcd", ".uploaded.json.0123abcd"):  # the other is being written, by the driver
        (tmp_path / name).write_bytes(b"half")
    checkpoint.remove(tmp_path / "c.pt")
    assert [path.name for path in tmp_path.iterdir()] == [".uploaded.json.0123abcd"]


def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path):
    for epoch in (1, 2):
        checkpoint.save(tmp_path / "c.pt", {"epoch": epoch, "w": torch.arange(1000.0)})
    content = bytearray((tmp_path / "c.2.pt").read_bytes())
    content[len(content) // 2] ^= 1  # a single bit of a weight: torch would load it
    (tmp_path / "c.2.pt").write_bytes(content)
    damaged = []
    state = checkpoint.load(tmp_path / "c.pt", CPU, damaged.append)
    assert state is not None
    assert state["epoch"] == 1
    assert damaged == ["c.2.pt"]
    checkpoint.save(tmp_path / "c.pt", {"epoch": 2})
    assert checkpoint.load(tmp_path / "c.pt", CPU) == {"epoch": 2}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_gpu_without_memory_or_that_broke_is_no_damage(tmp_path, monkeypatch, error):
    checkpoint.save(tmp_path / "c.pt", {"epoch": 1})

    def short(*args, **kwargs):
        raise error("of CUDA")

    monkeypatch.setattr(torch, "load", short)
    with pytest.raises(error):
        checkpoint.load(tmp_path / "c.pt", CPU)
    assert (tmp_path / "c.1.pt").exists()


def fill(address):
    with closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as database, database:
        database.execute("CREATE TABLE found (value)")
        database.execute("INSERT INTO found VALUES (1)")


def test_a_database_is_there_as_a_whole_or_not_at_all(tmp_path):
    file = tmp_path / "new" / "store.db"

    def killed(address):
        fill(address)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_database(file, killed)
    assert not file.exists()
    create_database(file, fill)
    assert [path.name for path in file.parent.iterdir()] == ["store.db"]
    create_database(file, lambda address: pytest.fail("created again"))
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT value FROM found").fetchall() == [(1,)]
