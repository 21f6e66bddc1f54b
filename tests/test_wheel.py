"""A wheel is whole: installed into an environment of its own, it plans a sweep in an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("orchestrator", "pruners", "search_spaces", "trainables")
pytestmark = pytest.mark.slow


def run(*words: object, folder: Path) -> str:
    outside = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*map(str, words)], cwd=folder, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = (
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        source / "dist",
        source,
    )
    run(sys.executable, "-m", "pip", *words, folder=source)
    return next((source / "dist").glob("*.whl"))


def test_it_holds_every_file_of_the_rooms_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = (file for name in PACKAGES for file in (ROOT / name).rglob("*") if file.is_file())
    assert packed == {str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts}


def test_installed_it_plans_a_sweep_in_an_empty_folder(wheel, tmp_path):
    # What it depends on is lent by this environment; the project itself is not, as its own .pth file is not read then.
    home, empty = tmp_path / "venv", tmp_path / "empty"
    empty.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", home, folder=tmp_path)
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        home,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        folder=tmp_path,
    )
    site = next(home.glob("lib/python*/site-packages"))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    assert run(home / "bin/prune-report", "--help", folder=empty).startswith("usage: prune-report ")
    planned = run(home / "bin/prune-sweep", "digits", "--dry-run", "--set", "architecture=mlp", folder=empty)
    assert "30 cells, 26 unique trials" in planned
    assert not list(empty.iterdir())
