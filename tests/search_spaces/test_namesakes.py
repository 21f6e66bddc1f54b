"""Another package under one of our names is said at import; ours is not, wherever each of its packages lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def warned(*path: Path) -> str:
    code = f"import sys; sys.path[:0] = {list(map(str, path))}; import search_spaces"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd="/", capture_output=True, text=True, check=True)
    return done.stderr


@pytest.mark.parametrize("name", ["orchestrator", "trainables", "pruners"])
def test_a_namesake_is_named_with_its_place(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    told = warned(tmp_path, ROOT)
    assert f"another package named '{name}' comes first" in told
    assert str(tmp_path) in told


def test_ours_in_folders_of_their_own_are_no_namesakes(tmp_path):
    for name in ("orchestrator", "trainables", "pruners", "search_spaces"):  # as Ray puts them on a cluster's nodes
        (tmp_path / f"package_{name}").mkdir()
        (tmp_path / f"package_{name}" / name).symlink_to(ROOT / name)
    assert "another package" not in warned(*tmp_path.iterdir())
