"""The pretended GPU itself: what CUDA would do and say, shown by hand."""

from __future__ import annotations

import json
import signal

import pytest

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("file", ["test_kernels.py", "test_captures.py"])
def test_inside(pretended_gpu, file):
    """These tests run in one process with a GPU, as starting one takes seconds."""
    finished = pretended_gpu.pytest(f"tests/gpu/inside/{file}")
    assert " passed" in finished.stdout
    assert "skipped" not in finished.stdout


def test_memory_is_limited_on_each_gpu_and_for_captures(pretended_gpu):
    """The first GPU is large, the second small; a capture that finds no memory fails and gives back what it took."""
    finished = pretended_gpu.python(
        """
import json, torch
sizes = [torch.cuda.get_device_properties(i).total_memory >> 20 for i in range(torch.cuda.device_count())]
said = []
for device in ("cuda:1", "cuda:0"):
    try:
        torch.empty(200 << 20, dtype=torch.uint8, device=device)
        said.append("")
    except torch.OutOfMemoryError as error:
        said.append(str(error))
x = torch.ones(3, device="cuda:1")
moved = (x * 2).to("cuda:0").tolist(), str((x * 2).device)
torch.cuda.set_device(1)
torch.cuda.empty_cache()
x = torch.ones(10 << 20, device="cuda")
graph = torch.cuda.CUDAGraph()
try:
    with torch.cuda.graph(graph):
        kept = [x + i for i in range(4)]
except torch.OutOfMemoryError:
    said.append("capture")
kept = None
del graph
torch.cuda.synchronize()
torch.cuda.empty_cache()
reserved = torch.cuda.memory_reserved() >> 20
print(json.dumps([sizes, said, moved, reserved, (x + 1).sum().item() / (10 << 20)]))
""",
        memory="300MiB,130MiB",
    )
    sizes, (small, large, capture), moved, reserved, mean = finished.answer
    assert sizes == [300, 130]
    assert "CUDA out of memory. Tried to allocate 200.00 MiB. GPU 1 has a total capacity of 130.00 MiB" in small
    assert (large, capture, moved) == ("", "capture", [[2, 2, 2], "cuda:1"])
    assert reserved == 40  # that of x
    assert mean == 2
    assert finished.counts["cudaMalloc out of memory"] >= 1


def test_a_process_sees_the_gpus_that_are_visible_to_it_and_no_more_memory_than_its_share(pretended_gpu):
    finished = pretended_gpu.python(
        """
import json, os
os.environ["CUDA_VISIBLE_DEVICES"] = "1"
import torch
torch.cuda.set_per_process_memory_fraction(0.25, 0)
try:
    torch.empty(60 << 20, dtype=torch.uint8, device="cuda")
    said = ""
except torch.OutOfMemoryError:
    said = "memory"
print(json.dumps([torch.cuda.device_count(), torch.cuda.get_device_properties(0).total_memory >> 20, said]))
""",
        memory="300MiB,100MiB",
    )
    assert finished.answer == [1, 100, "memory"]


def test_a_poisoned_context_stays_so_until_the_process_ends(pretended_gpu, tmp_path):
    flag = tmp_path / "poisoned"
    finished = pretended_gpu.python(
        """
import json, os, sys, torch
child = os.fork()
if not child or os.waitpid(child, 0)[1] == 0:  # the child first, which ends without a trace; then this process
    said = []
    try:
        for i in range(100):
            torch.ones(3, device="cuda").add_(1)
    except torch.AcceleratorError as error:
        said.append((i, str(error).splitlines()[0]))
    for call in (torch.cuda.synchronize, lambda: torch.zeros(5, device="cuda")):
        try:
            call()
            said.append("")
        except torch.AcceleratorError as error:
            said.append(type(error).__name__)
    print(json.dumps(said), flush=True)
    os._exit(0)
""",
        faults=f"poison@20:{flag}",
    )
    first, second = map(json.loads, finished.stdout.splitlines())
    illegal = "CUDA error: an illegal memory access was encountered"
    assert first == [[9, illegal], "AcceleratorError", "AcceleratorError"]  # two launches in each step
    assert second == ["", ""]
    assert flag.read_text().isdigit()


def test_a_dead_gpu_fails_or_kills_every_process_on_it(pretended_gpu):
    finished = pretended_gpu.python(
        """
import os, torch
child = os.fork()
if not child:
    try:
        torch.ones(2, device="cuda:1")
    except torch.AcceleratorError as error:
        print(str(error).splitlines()[0], flush=True)
    os._exit(0)
os.waitpid(child, 0)
for _ in range(3):
    print(torch.ones(2, device="cuda:0").tolist(), flush=True)
""",
        memory="1GiB,1GiB",
        faults="dead:1@0;exit:0@3",
        check=False,
    )
    ones = "[1.0, 1.0]"
    assert finished.stdout.splitlines() == ["CUDA error: uncorrectable ECC error encountered", ones, ones]
    assert finished.returncode == -signal.SIGKILL


def test_an_old_driver_is_too_old_for_torch(pretended_gpu):
    finished = pretended_gpu.python(
        """
import json, torch, warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    there = torch.cuda.is_available()
try:
    torch.zeros(1, device="cuda")
except RuntimeError as error:
    print(json.dumps([there, str(seen[0].message), str(error)]))
""",
        cuda="12.4",
        driver="550.54",
    )
    there, warned, raised = finished.answer
    assert there is False
    assert "driver on your system is too old (found version 12040)" in warned
    assert "driver on your system is too old (found version 12040)" in raised
