"""The command, with the plain executor: what it refuses, what it records, what it never does twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient

from orchestrator.report.__main__ import main as report
from orchestrator.sweep import main
from search_spaces import Trial
from trainables import phases
from trainables.training import trainer

TINY = ["digits", "--local", "--set", "architecture=mlp", "--set", "epochs=2"]
GRID = ["--set", "pruner=[random, snip]", "--set", "compression=[1, 4]"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trial_runs(store="results/mlflow.db"):
    client = MlflowClient(f"sqlite:///{Path(store).resolve()}")
    found = client.get_experiment_by_name("digits")
    return client, client.search_runs([found.experiment_id], "tags.kind='trial'")


def test_from_a_space_to_its_report_and_nothing_twice(monkeypatch, capsys):
    assert main([*TINY, *GRID]) == 0
    client, runs = trial_runs()
    assert len(runs) == 3  # four cells; at 1x both pruners are the dense trial
    assert {run.info.status for run in runs} == {"FINISHED"}
    snip = next(run for run in runs if run.data.params["pruner"] == "snip")
    assert snip.data.params["compression"] == "4"
    assert snip.data.tags["fingerprint"]
    assert snip.data.tags["mlflow.parentRunId"]
    assert [m.step for m in client.get_metric_history(snip.info.run_id, "test/top1")] == [1, 2]
    assert snip.data.metrics["model/compression"] == pytest.approx(4, rel=1e-3)
    artifacts = {artifact.path for artifact in client.list_artifacts(snip.info.run_id)}
    assert {"masks.safetensors", "layers.json", "histograms.png", "trial.json"} <= artifacts
    assert Path("results/report/report.html").stat().st_size > 10_000
    assert "3 of 3 trials finished" in capsys.readouterr().out

    monkeypatch.setattr(trainer, "train", lambda *a, **k: pytest.fail("trained again"))
    assert main([*TINY, *GRID]) == 0
    assert "3 done before, 0 to do" in capsys.readouterr().out
    client, runs = trial_runs()
    assert len(runs) == 3
    parents = client.search_runs([runs[0].info.experiment_id], "tags.kind='sweep'")
    assert [run.info.status for run in parents] == ["FINISHED"]  # the same plan is the same sweep


@pytest.mark.slow
def test_only_what_is_added_is_run(monkeypatch, capsys):
    # Records are told apart by fingerprint: compared one by one, ten thousand of them take minutes.
    monkeypatch.setattr(Trial, "__eq__", lambda *records: pytest.fail("compared two records"))
    assert main([*TINY, *GRID]) == 0
    assert main([*TINY, "--set", "pruner=[random, snip]", "--set", "compression=[1, 4, 8]"]) == 0
    assert "3 done before, 2 to do" in capsys.readouterr().out
    assert len(trial_runs()[1]) == 5


def test_scores_are_computed_once_for_all_compressions_and_not_kept(monkeypatch, capsys):
    scored, once = [], phases.shared
    monkeypatch.setattr(
        phases,
        "shared",
        lambda trial, place, model, compute: once(trial, place, model, lambda: scored.append(trial) or compute()),
    )
    assert main([*TINY, "--set", "epochs=0", "--set", "pruner=snip", "--set", "compression=[2, 4]"]) == 0
    assert "once for 2 trials: scores snip" in capsys.readouterr().out
    assert len(scored) == 1
    assert not Path("results/checkpoints/scores").exists()


def test_a_failed_trial_is_a_hole_and_the_sweep_goes_on(capsys):
    bad = [*TINY, "--set", "compression=1", "--set", "pruner=snip", "--set", "optimizer=sgd"]
    assert main([*bad, "--set", "lr=[0.05, 1e20]"]) == 1
    client, runs = trial_runs()
    by_status = {run.info.status: run for run in runs}
    assert by_status.keys() == {"FINISHED", "FAILED"}
    failed = by_status["FAILED"]
    assert "TrainingError: the training loss is" in failed.data.tags["error"]
    assert "traceback.txt" in {artifact.path for artifact in client.list_artifacts(failed.info.run_id)}
    assert "final/top1" not in failed.data.metrics
    assert "the training loss is" in Path("results/report/report.html").read_text()
    out = capsys.readouterr().out
    assert "1 of 2 trials finished, 1 failed" in out

    assert main([*bad, "--set", "lr=[0.05, 1e20]"]) == 1  # tried again in the same run, and failed again
    assert len(trial_runs()[1]) == 2


@pytest.mark.slow
def test_what_an_empty_store_does_not_have_is_sent_not_trained(monkeypatch):
    assert main([*TINY, *GRID]) == 0
    first = {run.data.tags["fingerprint"]: run.data.metrics for run in trial_runs()[1]}
    monkeypatch.setattr(trainer, "train", lambda *a, **k: pytest.fail("trained again"))
    assert main([*TINY, *GRID, "--tracking-uri", f"sqlite:///{Path('new.db').resolve()}"]) == 0
    assert {run.data.tags["fingerprint"]: run.data.metrics for run in trial_runs("new.db")[1]} == first


def test_dry_run_says_what_it_would_do_and_writes_nothing(capsys):
    assert main([*TINY, *GRID, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "4 cells, 3 unique trials" in out
    assert "parameters stay dense: biases" in out
    assert "of training" in out
    assert "bfloat16" not in out
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("found", "said"), [({"avx512_bf16": True, "amx_bf16": False}, "has such"), ({}, "has none")])
def test_of_bfloat16_without_a_gpu_the_plan_says_what_to_expect(capsys, monkeypatch, found, said):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: found, raising=False)
    assert main([*TINY, *GRID, "--set", "precision=bfloat16", "--gpus-per-trial", "0", "--dry-run"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"bfloat16 is slower than float32 on CPUs without instructions for it; this machine {said}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts"], "space: 'digts' is not known; did you mean 'digits'?"),
        (["digits", "--set", "pruner=snap"], "pruner: 'snap' is not known; did you mean 'snip'?"),
        (["digits", "--set", "prunner=snip"], "'prunner' is not known; did you mean 'pruner'?"),
        (["digits", "--set", "architecture=vgg"], "architecture: 'vgg' is not known"),
        (["digits", "--set", "dataset=cifar-100"], "dataset: 'cifar-100' is not known; did you mean 'cifar100'?"),
        (["digits", "--set", "compression=0.5"], "compression: 0.5 is not allowed"),
        (["digits", "--set", "compression=[]"], "compression: the list is empty"),
        (["mnist-quick", "--data-root", "nowhere"], "data root: 'nowhere' is not a folder"),
        (["digits", "--tracking-uri", "http://127.0.0.1:9"], "tracking server: http://127.0.0.1:9 does not answer"),
        (["digits", "--tracking-uri", "file:./mlruns"], "--tracking-uri: 'file:./mlruns' is not a tracking store"),
        (["digits", "--gpus-per-trial", "0.3333333"], "--gpus-per-trial: 0.333333 is not allowed"),
        (["digits", "--gpus-per-trial", "64"], "--gpus-per-trial: 64 asked for, but no node has"),
        (["digits", "--tracking-uri", "http://localhost:abc"], "tracking server: http://localhost:abc does not answer"),
        (["digits", "--tracking-uri", "http://me:secret@127.0.0.1:9"], "tracking server: http://127.0.0.1:9 does not"),
        (["digits", "--tracking-uri", "sqlite:///"], "'sqlite:///' is not a tracking store"),
        (["digits", "--tracking-uri", "databricks"], "'databricks' is not a tracking store"),
        (["digits", "--tracking-uri", "mysql://me@127.0.0.1/x"], "tracking store: mysql://127.0.0.1/x: its driver"),
        (["digits", "--address", "127.0.0.1:9"], "--address: no Ray answers at '127.0.0.1:9'"),
        (["digits", "--address", "head:here"], "--address: no Ray answers at 'head:here'"),
        (["digits", "--experiment", " "], "experiment: ' ' is not a name"),
        (["digits", "--set", 'name="[/x]"', "--set", "epochs=x"], "epochs: 'x' is not allowed"),
        (["digits", "--cpus-per-trial", "0"], "--cpus-per-trial: 0 is not allowed"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(arguments, message, capfd):
    assert main(arguments) == 2
    _, err = capfd.readouterr()
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not list(Path().iterdir())


def test_a_fault_of_ours_is_no_refusal(monkeypatch):
    monkeypatch.setattr("orchestrator.running.prepare.estimate", lambda *given: int("an index that we got wrong"))
    with pytest.raises(ValueError, match="invalid literal"):
        main([*TINY, *GRID])


def test_two_sweeps_do_not_share_a_folder(capfd):
    from filelock import FileLock

    Path("results").mkdir()
    with FileLock("results/.sweep.lock"):
        assert main([*TINY, *GRID]) == 2
    assert "another sweep is running on 'results'" in capfd.readouterr().err


def test_a_store_that_is_none_is_refused_and_left_alone(capfd):
    Path("results").mkdir()
    Path("results/mlflow.db").write_bytes(b"garbage")
    assert main([*TINY, *GRID]) == 2
    assert "is not an MLflow database" in capfd.readouterr().err
    assert Path("results/mlflow.db").read_bytes() == b"garbage"


@pytest.mark.slow
def test_a_copied_folder_does_not_write_into_the_original(capfd):
    import shutil

    assert main([*TINY, *GRID]) == 0
    shutil.copytree("results", "copy")
    before = sorted(Path("results").rglob("*"))
    assert main([*TINY, *GRID, "--set", "seed=1", "--output", "copy"]) == 0
    assert f"the store now has its files in {Path('copy/artifacts').resolve()}" in capfd.readouterr().out
    assert sorted(Path("results").rglob("*")) == before
    assert "results/artifacts" not in Path("copy/report/report.html").read_text()


@pytest.mark.slow
def test_a_moved_folder_goes_on_and_is_reported_where_it_is(capfd):
    assert main([*TINY, *GRID]) == 0
    Path("results").rename("moved")
    store = f"sqlite:///{Path('moved/mlflow.db').resolve()}"
    assert report(["digits", "--tracking-uri", store, "--output", "alone", "--no-log"]) == 0
    assert not Path("results").exists()
    # In a process of its own, as MLflow remembers where a run's files are; matplotlib's variable is passed on.
    words = [sys.executable, "-m", "orchestrator.sweep", *TINY, *GRID, "--output", "moved"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 to do" in done.stdout
    assert {path.name for path in Path("results").glob("*")} <= {".matplotlib"}


def test_a_report_that_cannot_be_made_costs_no_result(monkeypatch, capsys):
    def broken(*given, **settings):
        raise ValueError("a figure of nothing")

    monkeypatch.setattr("orchestrator.report.write.write_report", broken)
    assert main([*TINY, "--set", "pruner=snip", "--set", "compression=4"]) == 1
    assert "no report: ValueError: a figure of nothing" in capsys.readouterr().out
    client, (run,) = trial_runs()
    (sweep,) = client.search_runs([run.info.experiment_id], "tags.kind='sweep'")
    assert (run.info.status, sweep.info.status) == ("FINISHED", "FINISHED")


@pytest.mark.slow
def test_another_experiments_report_is_not_announced(capsys):
    assert main([*TINY, *GRID]) == 0
    capsys.readouterr()
    bad = ["--set", "pruner=snip", "--set", "compression=1", "--set", "optimizer=sgd", "--set", "lr=1e20"]
    assert main([*TINY, *bad, "--experiment", "other"]) == 1
    assert "report.html" not in capsys.readouterr().out


def test_it_runs_outside_of_the_main_thread(capsys):
    codes = []
    words = [*TINY, "--set", "epochs=0", "--set", "pruner=random", "--set", "compression=4", "--audit", "0"]
    thread = Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join()
    assert codes == [0], capsys.readouterr().err
