"""Every kind of trial on a pretended GPU, compared with the CPU: masks equal, losses to rounding."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("chosen", ["weight", "not weight"])  # two halves, for two cores
def test_trials_are_as_on_the_cpu(pretended_gpu, chosen):
    """They run in one process with a GPU, as starting one takes seconds."""
    finished = pretended_gpu.pytest("tests/gpu/inside/test_trials_inside.py", "-k", chosen)
    assert " passed" in finished.stdout
    assert "skipped" not in finished.stdout
    assert not [event for event in finished.counts if event.startswith(("violation/", "unemulated/"))]


@pytest.mark.parametrize("what", ["cuda_graphs", "data"])
def test_inside(pretended_gpu, what):
    """What is asked of torch itself, in a process with a GPU."""
    finished = pretended_gpu.pytest(f"tests/gpu/inside/test_{what}.py", "-rs")
    assert " passed" in finished.stdout
    assert "skipped" not in finished.stdout
