"""Every kind of trial on a pretended GPU, compared with the CPU: masks equal, losses to rounding."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("chosen", ["weight", "not weight"])  # two halves, for two cores
def test_trials_are_as_on_the_cpu(pretended_gpu, chosen):
    """They run in one process with a GPU, as starting one takes seconds."""
    finished = pretended_gpu.pytest("tests/gpu/inside/test_trials.py", "-k", chosen)
    assert " passed" in finished.stdout
    assert "skipped" not in finished.stdout
    assert not [event for event in finished.counts if event.startswith(("violation/", "unemulated/"))]


def test_steps_are_captured_as_graphs(pretended_gpu):
    finished = pretended_gpu.pytest("tests/gpu/inside/test_cuda_graphs.py")
    assert "failed" not in finished.stdout and " passed" in finished.stdout
