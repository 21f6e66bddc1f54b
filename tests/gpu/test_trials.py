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


def test_our_tests_for_cuda_pass(pretended_gpu):
    """Tests that are skipped without CUDA are not skipped here."""
    finished = pretended_gpu.pytest("tests/trainables/test_captured.py", "-rs")
    assert "no CUDA here" not in finished.stdout
