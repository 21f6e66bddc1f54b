"""A storage that Optuna cannot open is one line, before anything runs."""

from __future__ import annotations

import pytest

from orchestrator.running.resume_studies import require_storage
from orchestrator.sweep import main
from search_spaces import SpaceError


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "foo", "", "mongodb://h/db"])
def test_an_unknown_kind_of_storage_is_refused(url):
    with pytest.raises(SpaceError, match=r"search: storage: '.*' cannot be used"):
        require_storage(url)


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_the_command_refuses_it_and_writes_nothing(more, tmp_path, capsys):
    sets = ("pruner=snip", "compression=10", "validation=0.1", "lr={low: 0.1, high: 0.2}", "architecture=mlp")
    search = "search={trials: 2, storage: 'redis://u:pw@127.0.0.1:9/0'}"
    words = [word for setting in (*sets, search) for word in ("--set", setting)]
    assert main(["digits", "--local", "--output", str(tmp_path / "o"), *words, *more]) == 2
    said = capsys.readouterr().err
    assert "search: storage: 'redis://127.0.0.1:9/0' cannot be used" in said
    assert "pw" not in said
    assert not (tmp_path / "o").exists()
