"""Every command that the documentation or a deployment types is one that its program takes. None is run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml
from packaging.requirements import Requirement

from orchestrator import status, sweep, ui
from orchestrator.audit import __main__ as audit
from orchestrator.report import __main__ as report
from search_spaces import load, presets

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md"))]
DEPLOYMENTS = [ROOT / "cluster.yaml", *(ROOT / "deploy").glob("*")]
SWEEP = "python -m orchestrator.sweep"
ELSEWHERE = {"apptainer", "docker", "kubectl", "ssh"}  # programs that need not be here


def mentioned() -> set[str]:
    """Sweeps anywhere in a text: up to the end of the line, or of the quotes or backticks around them."""
    job = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text(encoding="utf-8"))["spec"]["entrypoint"]
    found = {job.replace("orchestrator.rayjob", "orchestrator.sweep")}  # it takes the same words
    for file in [*PAGES, *DEPLOYMENTS]:
        if file.name == "rayjob.yaml":
            continue
        for line in re.sub(r"\\\n\s*", "", file.read_text(encoding="utf-8")).splitlines():
            for match in re.finditer(re.escape(SWEEP), line):
                before, after = line[: match.start()], line[match.start() :]
                for mark in "'`\"":
                    if before.count(mark) % 2:
                        after = after.partition(mark)[0]
                found.add(after)
    return found - {SWEEP}


def typed() -> set[str]:
    """The lines of a page that are set apart as commands."""
    found = set()
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        found |= {line.strip() for line in re.findall(r"(?:^|\n\n)((?:    .+\n)+)", text) for line in line.splitlines()}
    return {line for line in found if not line.startswith("tags.")}  # what MLflow's search box takes


def takes_sweep(words: Sequence[str]) -> None:
    asked = sweep.parser().parse_args(words)
    if asked.space in presets():
        load(asked.space, [word.replace("measure=concentration", "measure=training") for word in asked.overrides])
    else:
        assert asked.space.endswith(".yaml") or asked.space == "SPACE"


def takes_report(words: Sequence[str]) -> None:
    report.parser().parse_args(words)


def takes_audit(words: Sequence[str]) -> None:
    audit.parser().parse_args(words)


def takes_status(words: Sequence[str]) -> None:
    status.parser().parse_args(words)


def takes_ui(words: Sequence[str]) -> None:
    ui.parser().parse_args(words)


def takes_pip(words: Sequence[str]) -> None:
    named = [word for word in words[1:] if not word.startswith("--") and word != "constraints.txt"]
    ours = distribution("pruning-sweeps").metadata.get_all("Provides-Extra") or []
    assert named
    for word in named:
        wanted = Requirement(word)
        assert wanted.name != "pruning-sweeps" or wanted.extras <= set(ours), word


def takes_make(words: Sequence[str]) -> None:
    subprocess.run(["make", "--dry-run", *words], cwd=ROOT, check=True, capture_output=True)


def takes_module(words: Sequence[str]) -> None:
    assert words[0].startswith(("trainables.", "benchmarks.", "pytest"))
    assert find_spec(words[0])


def takes_ray(words: Sequence[str]) -> None:
    from ray.scripts.scripts import cli

    takes_click(cli, words)


def takes_mlflow(words: Sequence[str]) -> None:
    from mlflow.cli import cli

    takes_click(cli, words)


def takes_click(group: click.Group, words: Sequence[str]) -> None:
    """The command's options are read, and it is not called."""
    name, *rest = words
    command = group.get_command(click.Context(group), name)
    if isinstance(command, click.Group):
        takes_click(command, rest)
    else:
        command.make_context(name, rest)


PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "make": takes_make,
    "pip": takes_pip,
    "ray": takes_ray,
    "mlflow": takes_mlflow,
    "prune-sweep": takes_sweep,
    "prune-report": takes_report,
    "prune-audit": takes_audit,
    "prune-status": takes_status,
    "prune-ui": takes_ui,
}
MODULES = {
    "orchestrator.sweep": takes_sweep,
    "orchestrator.report": takes_report,
    "orchestrator.audit": takes_audit,
    "orchestrator.status": takes_status,
    "orchestrator.ui": takes_ui,
}


@pytest.mark.parametrize("command", sorted(mentioned()))
def test_a_sweep_in_a_text_is_one(command):
    words = shlex.split(command, comments=True)
    takes_sweep(words[words.index("orchestrator.sweep") + 1 :])


@pytest.mark.parametrize("command", sorted(typed()))
def test_the_program_takes_it(command):
    command = re.sub(r"^\(umask 077; (.*)\)$", r"\1", command)
    words = shlex.split(re.sub(r"\$\([^)]*\)", "X", command), comments=True)
    while "=" in words[0]:  # an environment variable for it
        words = words[1:]
    program = Path(words[0]).name
    if program in ELSEWHERE:
        return
    if program == "cd":
        assert words[1] == "pruning-sweeps"
    elif program == "sbatch":
        takes_sweep(words[words.index("deploy/slurm.sbatch") + 1 :])
    elif program == "python":
        assert words[1] == "-m"
        MODULES.get(words[2], lambda rest: takes_module(words[2:]))(words[3:])
    elif (ROOT / words[0]).is_file():
        assert (ROOT / words[0]).stat().st_mode & 0o100, "it can be executed"
    else:
        PROGRAMS[program](words[1:])


def test_there_are_some():
    assert len(mentioned()) > 5
    assert len(typed()) > 20
