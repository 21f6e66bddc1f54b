"""What the command says of several trials on one GPU."""

from __future__ import annotations

import pytest

from orchestrator.sweep import main


@pytest.mark.parametrize("arguments", [["--pack", "4"], ["--pack", "auto"], ["--pack=0"], ["--pack"]])
def test_pack_is_told_what_there_is_instead(arguments, tmp_path, capsys):
    assert main(["digits", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert capsys.readouterr().err == (
        "sweep: --pack: several trials no longer share a process; give for example --gpus-per-trial 0.125, and start "
        "NVIDIA's MPS daemon so that trials run at the same time (docs/gpus.md)\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "shares"),
    [([], True), (["--gpus-per-trial", "auto"], True), (["--gpus-per-trial", "1"], False), (["--local"], False)],
)
def test_the_plan_says_once_whether_mps_runs_where_trials_share_a_gpu(asked, shares, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "nowhere"))
    monkeypatch.setattr("orchestrator.running.resource_flags.this_machine", lambda: {"CPU": 4, "GPU": 1})
    assert main(["digits", "--output", str(tmp_path / "out"), "--dry-run", *asked]) == 0
    assert capsys.readouterr().out.count("NVIDIA MPS does not run (docs/gpus.md)\n") == shares
