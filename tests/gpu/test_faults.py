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


def test_a_gpu_on_which_processes_die_is_tried_and_held_if_it_is_dead(pretended_gpu):
    script = [sys.executable, "tests/gpu/inside/suspected_gpus.py"]
    found = pretended_gpu.run(script, faults="dead:0@0", memory="16GiB,16GiB").answer
    assert found["deaths of one fault"] == "not suspected"
    assert found["dead"] == [["0", "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered"]]
    assert found["left"] == "1"
    assert found["told"] == [
        "GPU 0 of node 127.0.0.1 gets no more trials: processes die on it "
        "(torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered)"
    ]
    assert found["avoided"] == [["0", True], ["0", False], ["1", True], ["1", False], ["1", True], ["1", False]]
    assert found["sound"] == "given back"
    assert found["blamed by trials that ended well elsewhere"] == ["0", "1"]


def test_where_no_gpu_works_nothing_runs(sweep):
    said, code, found = sweep(faults="dead:0@0")
    assert code == 2 and not found
    assert "sweep: --gpus-per-trial: GPU 0 of node 127.0.0.1 does not work" in said
    assert "Traceback" not in said


def test_a_gpu_that_kills_each_process_fails_the_trial_and_not_the_sweep(sweep):
    """It works when it is tried alone, and no other GPU shows that it is to blame and not the trial."""
    said, code, found = sweep("--gpus-per-trial", "1", space=LARGE.replace("1700", "20"), faults="exit:0@400")
    assert code == 1 and not found
    assert "1 failed" in said and "the process of the trial died repeatedly" in said


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
