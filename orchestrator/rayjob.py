"""Run a sweep as the job of a Ray cluster that comes with it and goes after it (KubeRay's RayJob).

python -m orchestrator.rayjob ARGUMENTS OF THE SWEEP

It is the sweep but for two things. It waits for an MLflow that is still starting, as the cluster is. And its exit code
says whether another cluster could change something, because for any other code than 0 KubeRay starts one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from orchestrator import sweep

START_SECONDS = 600.0  # as long as deploy/mlflow.yaml gives MLflow's pod to become ready


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweep; return 0 if it is over or was rejected while MLflow answers, else its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        uri = sweep.parser().parse_args(words).tracking_uri or ""
    except SystemExit:  # argparse has said why
        return 0
    from orchestrator.running.execute import DONE, FAILED, REFUSED
    from orchestrator.running.wait_for_server import is_answering, wait_for_start
    from orchestrator.terminal import terminal

    server = uri.startswith("http")
    if server:
        wait_for_start(uri, START_SECONDS, terminal())
    code = sweep.main(words)
    return DONE if code in (FAILED, REFUSED) and (not server or is_answering(uri)) else code


if __name__ == "__main__":
    sys.exit(main())
