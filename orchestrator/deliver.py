"""Send to MLflow what a sweep could not send before it ended, as soon as the server answers; train nothing.

python -m orchestrator.deliver ARGUMENTS OF THE SWEEP

A sweep whose MLflow is away at its end starts this in the background. It is the sweep without trials to run: it sends
the records, closes the runs and writes the report. It ends when that is done, when another sweep has begun on the
output folder, when it was refused ten times, or after a week.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.planning.resources import Resources
from orchestrator.running.execute import INTERRUPTED, REFUSED, execute
from orchestrator.running.job import Job
from orchestrator.running.lease import OccupiedError
from orchestrator.running.prepare import REFUSALS, prepare_plan, read_request
from orchestrator.running.request import Request
from orchestrator.running.wait_for_server import LOOK_SECONDS, is_answering
from orchestrator.sweep import parser
from orchestrator.terminal import say, terminal
from search_spaces import load

PATIENCE_SECONDS = 7 * 86400.0
REFUSALS_IN_ALL = 10  # by a server that answers: it may just be starting; more than that will not pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait for the server and send what is there; return the exit code that the sweep would have had.

    Without arguments they are read from standard input, as a JSON list: a password in them is then in no process list.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or json.load(sys.stdin)
    args = parser().parse_args(words)
    deadline, refusals = time.monotonic() + PATIENCE_SECONDS, 0
    try:
        request = read_request(args, shlex.join(words))
    except REFUSALS as error:
        return _refused(error)
    while time.monotonic() < deadline:
        if is_answering(request.tracking_uri):
            try:
                code = execute(_job(request, args.space, args.overrides), terminal())
            except OccupiedError as error:  # another sweep has begun here; it sends all that is there
                return _refused(error)
            except REFUSALS as error:  # of a server that just starts, or that the space's file is gone
                code, refusals = _refused(error), refusals + 1
                if refusals == REFUSALS_IN_ALL:
                    return code
            else:
                if is_answering(request.tracking_uri):
                    return code
        time.sleep(LOOK_SECONDS)
    return INTERRUPTED


def _refused(error: Exception) -> int:
    say(terminal(stderr=True), f"deliver: {error}", "red")
    return REFUSED


def _job(request: Request, space: str, overrides: Sequence[str]) -> Job:
    """Return the sweep's job without trials to run."""
    prepared = prepare_plan(request, load(space, overrides))
    alone = replace(request, local=True, address=None, budget=0.0, audit=0, show=False, deliver_only=True)
    seconds = {trial.fingerprint: 0.0 for trial in prepared.todo}
    return Job(alone, prepared.plan, prepared.experiment, Resources(1, 0), seconds)


if __name__ == "__main__":
    sys.exit(main())
