"""Whether NVIDIA's MPS runs, seen from its socket as CUDA sees it; and what is said of that."""

from __future__ import annotations

import socket

import pytest

from trainables.gpu.memory import mps_runs, sharing


@pytest.fixture
def pipes(tmp_path):
    """A folder as the daemon makes it, and what CUDA finds it by."""
    folder = tmp_path / "mps"
    folder.mkdir()
    return folder, {"CUDA_MPS_PIPE_DIRECTORY": str(folder)}


@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_daemon_that_listens_runs_and_hears_nothing(pipes, kind):
    folder, environment = pipes
    with socket.socket(socket.AF_UNIX, kind) as daemon:
        daemon.bind(str(folder / "control"))
        if kind != socket.SOCK_DGRAM:
            daemon.listen()
        daemon.setblocking(False)
        assert mps_runs(environment)
        with pytest.raises(BlockingIOError):
            daemon.recv(1) if kind == socket.SOCK_DGRAM else daemon.accept()


def test_without_a_daemon_it_does_not_run(pipes, tmp_path):
    folder, environment = pipes
    assert not mps_runs({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "nowhere")})
    assert not mps_runs({"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / ("long" * 50))})
    assert not mps_runs(environment)
    (folder / "control").touch()
    assert not mps_runs(environment)


def test_what_a_killed_daemon_leaves_is_none(pipes):
    folder, environment = pipes
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        daemon.bind(str(folder / "control"))
        daemon.listen()
    assert (folder / "control").is_socket()
    assert not mps_runs(environment)


def test_where_nobody_says_it_is_looked_for_where_cuda_does(pipes, monkeypatch):
    folder, _ = pipes
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        daemon.bind(str(folder / "control"))
        daemon.listen()
        monkeypatch.setattr("trainables.gpu.memory.MPS_PIPES", str(folder))
        assert mps_runs({})
        assert mps_runs({"CUDA_MPS_PIPE_DIRECTORY": ""})


@pytest.mark.parametrize(
    ("mps", "said"),
    [
        ({}, ""),
        ({"here": True}, "trials that share a GPU run on it at the same time: NVIDIA MPS runs"),
        ({"here": False}, "trials that share a GPU take turns on it: NVIDIA MPS does not run (docs/gpus.md)"),
        (
            {"a": True, "b": False, "c": True},
            "trials that share a GPU take turns on it: NVIDIA MPS does not run on 1 of 3 nodes (b) (docs/gpus.md)",
        ),
        (
            dict.fromkeys("abcde", False),
            "trials that share a GPU take turns on it: NVIDIA MPS does not run on 5 of 5 nodes (a, b, c, …) "
            "(docs/gpus.md)",
        ),
    ],
)
def test_one_line_says_it_for_all_nodes(mps, said):
    assert sharing(mps) == said
