"""A Ray that cannot start here is one line with what to do, exit code 2, and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "orchestrator.sweep", "digits", "--output"]
READ_ONLY = "mkdir -p /tmp/ray && mount -t tmpfs -o size=1m,ro tmpfs /tmp/ray && exec "
HINT = "; set RAY_TMPDIR to a folder that you can write, with a short path such as /tmp/ray-of-me"


def refused(folder, command, environment):
    """Return the last line of the sweep, which has no other on standard error."""
    kept = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "RAY_TMPDIR")}
    done = subprocess.run(
        command, env=kept | environment, cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (folder / "results").exists()
    (line,) = done.stderr.splitlines()
    assert line.startswith("sweep: Ray could not start here (")
    return line


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_with_a_long_path(variable, tmp_path):
    long = tmp_path / ("l" * 70)
    long.mkdir()
    line = refused(tmp_path, [*COMMAND, str(tmp_path / "results")], {variable: str(long)})
    assert "path length" in line
    assert line.endswith(HINT)


def test_a_temporary_folder_that_cannot_be_written(tmp_path):
    """As where another user of the machine has made it."""
    alone = ["unshare", "--mount", "bash", "-c"]
    if subprocess.run([*alone, f"{READ_ONLY} true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount here")
    line = refused(tmp_path, [*alone, f'{READ_ONLY} "$0" "$@"', *COMMAND, str(tmp_path / "results")], {})
    assert "Read-only file system" in line
    assert line.endswith(HINT)
