"""Completion of commands, in a real bash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import sweep

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(not BASH, reason="needs bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab", reason="the extra completion is not installed")
    program = tmp_path_factory.mktemp("bin") / "prune-sweep"
    program.write_text("from orchestrator.sweep import main\nmain()\n")
    command = [sys.executable, str(program), "--print-completion", "bash"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=True)
    file = program.with_suffix(".bash")
    file.write_text(done.stdout)
    return file


def completed(script: Path, folder: Path, *words: str) -> set[str]:
    """What bash offers after these words of a command line, the last of which is not finished."""
    line = (
        f"source {script}; COMP_WORDS=(prune-sweep {' '.join(repr(word) for word in words)}); COMP_CWORD={len(words)}"
    )
    asked = (
        f"{line}; $(complete -p prune-sweep | grep -o '\\-F [^ ]*' | cut -c4-); printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run([str(BASH), "-c", asked], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_options_spaces_and_folders_are_offered(script: Path, tmp_path: Path) -> None:
    (tmp_path / "digital.yaml").touch()
    (tmp_path / "digits.txt").touch()
    (tmp_path / "data").mkdir()
    assert completed(script, tmp_path, "--dr") == {"--dry-run"}
    assert completed(script, tmp_path, "--da") == {"--data-root"}
    assert completed(script, tmp_path, "dig") == {"digits", "digits-pruners", "digital.yaml"}
    assert completed(script, tmp_path, "--data-root", "d") == {"data"}


def test_without_shtab_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as ended:
        sweep.main(["--print-completion", "bash"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("needs the package shtab; run: pip install shtab\n")
