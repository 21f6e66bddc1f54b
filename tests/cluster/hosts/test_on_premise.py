"""The documented way on machines of one's own, word by word: up, a sweep, its report through the tunnel."""

from __future__ import annotations

import pytest
from harness import until
from on_premise import V1, YES, OnPremise, results, runs
from page import documented

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
QUESTION = """
dataset: digits
architecture: mlp
pruner: [random, snip]
compression: 4
epochs: 2
"""


def test_a_sweep_straight_after_ray_up_and_its_report(cluster: OnPremise) -> None:
    cluster.up()  # as often as one likes; Ray starts anew, and its workers are not there yet
    checkout = cluster.laptop.home / "checkout"
    (checkout / "my-question.yaml").write_text(QUESTION)
    cluster.documented("ray rsync-up")
    cluster.documented("ray exec", "--tmux")
    cluster.watch(documented("ray attach my-cluster.yaml --tmux"), "my-question")
    page = cluster.lab.shared / "results/report/report.html"
    until(page.exists, "the report", 900, pause=1)
    with cluster.tunnel():
        until(lambda: ("sweep", "FINISHED") in runs(cluster.laptop, "my-question"), "the sweep's end", pause=1)
        assert len(results(cluster.laptop, "my-question", epochs=2)) == 2
        commit = cluster.type("git describe --always --dirty").strip()
    cluster.documented("ray rsync-down")
    assert (checkout / "report/report.html").read_bytes() == page.read_bytes()
    assert commit in page.read_text()


def test_a_command_is_typed_on_the_head(cluster: OnPremise) -> None:
    typed = [documented("cd pruning-sweeps"), documented("python -m orchestrator.sweep digits --address"), "exit"]
    shell = cluster.laptop.start(f"cd checkout && {documented('.venv/bin/ray attach my-cluster.yaml')}")
    out, _ = shell.communicate("\n".join(typed) + "\n", timeout=600)
    assert shell.returncode == 0, out  # of the last command before `exit`
    assert "unique trials" in out


def test_down_ends_all_but_the_servers_and_the_results(cluster: OnPremise) -> None:
    cluster.head.do(documented("pg_dump"))
    assert "COPY public.metrics" in (cluster.lab.shared / "mlflow.sql").read_text()
    cluster.documented(".venv/bin/ray down", swap=YES, **V1)
    for host in (cluster.head, *cluster.workers):
        until(lambda host=host: "raylet" not in host.as_root("ps", "-eo", "args").stdout, "Ray has ended")  # type: ignore[misc]
    assert (cluster.lab.shared / "results/report/report.html").exists()
    assert cluster.head.run("(: < /dev/tcp/127.0.0.1/5000)")[0] == 0
    cluster.head.do(f"cd pruning-sweeps && {documented('deploy/head.sh stop')}")
    assert cluster.head.run("(: < /dev/tcp/127.0.0.1/5000)")[0]
