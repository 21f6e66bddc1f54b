"""GPUs that fail, are too small or too old under a sweep on Ray: nothing that can be computed is lost."""

from __future__ import annotations

import sys

import pytest
from test_sweep import records

pytestmark = pytest.mark.gpu

SPACE = """
dataset: digits
architecture: mlp
pruner: [magnitude, random]
compression: [2, 4]
epochs: 1
"""


@pytest.fixture
def sweep(pretended_gpu, tmp_path):
    """Run a sweep of four trials on a machine; return what it printed, its exit code and its records."""

    def run(*options: str, space: str = SPACE, **machine: str):
        file = tmp_path / "faulty.yaml"
        file.write_text(space)
        output = tmp_path / "results"
        command = [sys.executable, "-m", "orchestrator.sweep", str(file), "--output", str(output), *options]
        done = pretended_gpu.run(command, check=False, **machine)
        said = " ".join((done.stdout + done.stderr).split())
        return said, done.returncode, records(output) if (output / "checkpoints").exists() else {}

    return run


def test_a_poisoned_context_costs_a_process_and_no_trial(sweep, tmp_path):
    said, code, found = sweep("--gpus-per-trial", "1", faults=f"poison@300:{tmp_path / 'flag'}")
    assert (tmp_path / "flag").exists()
    assert code == 0 and len(found) == 4, said
    assert said.count("its GPU broke (AcceleratorError: CUDA error: an illegal memory access was encountered)") == 1
    assert "Traceback" not in said and "A worker died" not in said


def test_a_dead_gpu_beside_one_that_works_costs_no_trial(sweep):
    said, code, found = sweep("--gpus-per-trial", "1", faults="dead:0@0", memory="16GiB,16GiB")
    assert code == 0 and len(found) == 4, said
    assert "GPU 0 of node 127.0.0.1 does not work: torch.AcceleratorError: CUDA error: uncorrectable ECC error" in said
    assert "GPU 1" not in said


def test_a_gpu_that_dies_during_the_sweep_is_left_alone(sweep, tmp_path):
    """From the 300th launch of the first trial on nothing works on it any more."""
    flag = tmp_path / "flag"
    faults = f"poison:0@300:{flag};dead:0@0:{flag}"
    longer = SPACE.replace("epochs: 1", "epochs: 20")
    said, code, found = sweep("--gpus-per-trial", "1", space=longer, faults=faults, memory="16GiB,16GiB")
    assert code == 0 and len(found) == 4, said
    assert "GPU 0 of node 127.0.0.1 gets no more trials: processes die on it" in said
    assert "Traceback" not in said


def test_where_no_gpu_works_nothing_runs(sweep):
    said, code, found = sweep(faults="dead:0@0")
    assert code == 2 and not found
    assert "sweep: --gpus-per-trial: GPU 0 of node 127.0.0.1 does not work" in said
    assert "Traceback" not in said


def test_a_gpu_that_kills_each_process_fails_the_trial_and_not_the_sweep(sweep):
    """It works when it is tried alone, and no other GPU shows that it is to blame and not the trial."""
    said, code, found = sweep("--gpus-per-trial", "1", space=LARGE.replace("1700", "20"), faults="exit:0@400")
    assert code == 1 and not found
    assert "1 failed" in said and "the process of the trial died, again and again" in said


def test_shares_grow_to_a_whole_gpu_before_a_trial_fails(sweep):
    """Its weights, gradients and momentum take more than half of this GPU."""
    said, code, found = sweep("--gpus-per-trial", "0.25", space=LARGE, memory="1GiB")
    assert code == 0 and len(found) == 1, said
    for before, after in (("0.25", "0.5"), ("0.5", "1")):
        assert f"out of memory with {before} of a GPU; it is tried again with {after}" in said


LARGE = """
dataset: digits
architecture: {name: mlp, width: 1700}
pruner: random
compression: [2]
epochs: 1
"""


def test_gpus_of_different_size_serve_one_sweep(sweep):
    said, code, found = sweep("--gpus-per-trial", "0.5", memory="16GiB,2GiB")
    assert code == 0 and len(found) == 4, said


def test_a_driver_too_old_is_one_line(sweep, tmp_path):
    said, code, found = sweep(cuda="12.4", driver="550.54.15")
    assert code == 2 and not found
    assert "the NVIDIA driver 550.54.15 supports CUDA 12.4, and this torch" in said
    assert "driver 580 or newer; with --gpus-per-trial 0 trials run on CPUs" in said
    assert "Traceback" not in said
    assert not (tmp_path / "results").exists()
