"""Spaces and own code of an experiment's sweeps as files, and the script that runs them again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import PurePath
from typing import Any

import yaml

from orchestrator.results.results import Results, Sweep
from orchestrator.results.store import public
from orchestrator.tracking.experiment import SPACE
from search_spaces import presets
from search_spaces.catalog import is_custom
from search_spaces.space import NAMED
from search_spaces.trial import version

SCRIPT = "rerun.sh"
# Options that say where a sweep ran and where its results went; each has a value. Another machine has its own.
PLACES = ("--output", "--tracking-uri", "--storage", "--data-root", "--address", "--experiment", "--time-budget",
          "--cpus-per-trial", "--gpus-per-trial", "--workers-per-trial", "--max-concurrent")  # fmt: skip
HEAD = """#!/bin/sh
# Computes every trial of this experiment again, then the report and this kit from the new results, into rerun/.
#
#     sh rerun.sh --data-root /absolute/path
#
# Options are those of python -m orchestrator.sweep; PYTHON names another Python. Start it in the project's folder, or
# anywhere if the project is installed. A second call goes on where the first one stopped.
{notes}PYTHONPATH="$PWD${{PYTHONPATH:+:$PYTHONPATH}}"
export PYTHONPATH
PYTHON=$(command -v "${{PYTHON:-python}}") || {{ echo 'rerun.sh: there is no python; set PYTHON' >&2; exit 2; }}
case $PYTHON in /*) ;; *) PYTHON=$PWD/$PYTHON ;; esac
cd "$(dirname "$0")" || exit 2
failed=0
sweep() {{ # 1: some trials failed, which the report shows
    "$PYTHON" -m orchestrator.sweep "$@" || {{ failed=$?; [ "$failed" = 1 ] || exit "$failed"; }}
}}
"""


def rerun_files(results: Results) -> dict[str, str]:
    """Return the text of each file by name: `rerun.sh`, the spaces, and the user's own code that they name."""
    files: dict[str, str] = {}
    commands: dict[str, None] = {}
    notes: dict[str, None] = {}
    for number, sweep in enumerate((sweep for sweep in results.sweeps[::-1] if sweep.plan), 1):
        typed = shlex.split(sweep.tags.get("command", ""))
        space = results.details.artifact(sweep.run_id, SPACE)
        if isinstance(space, dict):
            code = _own_code(sweep)
            text = yaml.safe_dump(_at_hand(space, code), sort_keys=False, allow_unicode=True, width=100)
            name = next((known for known in files if files[known] == text), f"spaces/{number}.yaml")
            files |= {name: text, **dict(code.values())}
            words = [name, *(["--force"] if "--force" in typed else [])]
        else:  # a sweep of an earlier version, which did not keep its space
            words = _without_places(typed)
            if not presets().keys() & words[:1]:
                notes[f"# The store does not have the space {words[0]}: put it beside this script.\n"] = None
        told = [*words, "--experiment", _experiment(results, typed, sweep), "--output", "rerun"]
        commands[f'sweep {shlex.join(told)} "$@"'] = None
        for mask in sweep.plan.get("masks", ()):
            notes[f"# Masks were given that are not among these files: {mask}.\n"] = None
    report = ["orchestrator.report", *results.experiment.split(" + "), "--tracking-uri", "sqlite:///rerun/mlflow.db"]
    report += ["--where", results.selection] if results.selection else []
    for more in (["--output", "rerun/report"], ["--paper", "--output", "rerun/paper"]):
        commands[f'"$PYTHON" -m {shlex.join([*report, *more])} || exit'] = None
    script = HEAD.format(notes="".join(notes)) + "\n".join([*commands, 'exit "$failed"']) + "\n"
    return {SCRIPT: public(script), **files}


def _experiment(results: Results, typed: Sequence[str], sweep: Sweep) -> str:
    """Return the name of the experiment of a sweep, whose command may be of several that a report compares."""
    if " + " not in results.experiment:
        return results.experiment
    named = [word.partition("=")[2] for word in typed if word.startswith("--experiment=")]
    named += [value for option, value in pairwise(typed) if option == "--experiment"]
    return named[-1] if named else str(sweep.plan["space"])


def _without_places(typed: Sequence[str]) -> list[str]:
    """Return the arguments of a command without those that say where it ran."""
    kept: list[str] = []
    skip = False
    for word in typed:
        if skip or word.partition("=")[0] in PLACES:
            skip = not skip and word in PLACES
        else:
            kept.append(word)
    return kept


def _own_code(sweep: Sweep) -> dict[str, tuple[str, str]]:
    """Return the path in the kit and the text of own code by its name in trials: `my_score.py:Score`."""
    found = {}
    for trial in sweep.trials.values():
        for name, code in ((trial.pruner, trial.code), (trial.architecture, trial.architecture_code)):
            if code:
                found[name] = f"own/{version(code)[:6]}/{name.rpartition(':')[0]}", code
    return found


def _at_hand(space: Mapping[str, Any], code: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Return the space with the paths of own code as they are in the kit."""

    def here(value: Any) -> Any:
        if isinstance(value, list):
            return [here(one) for one in value]
        if isinstance(value, dict):
            return {**value, **({"name": here(value["name"])} if "name" in value else {})}
        path, _, wanted = str(value).rpartition(":")
        own = code.get(f"{PurePath(path).name}:{wanted}") if is_custom(str(value)) else None
        return f"{own[0]}:{wanted}" if own else value

    return {key: here(value) if key in NAMED else value for key, value in space.items()}
