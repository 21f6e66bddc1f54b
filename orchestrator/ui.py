"""Open MLflow on an experiment's charts and runs: starts a server on loopback for a store in a file or a database.

prune-ui [EXPERIMENT], or python -m orchestrator.ui
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from orchestrator.command_line import SCREENS, command_parser, open_address

HOST = "127.0.0.1"
START_SECONDS = 600  # a busy machine takes minutes to import MLflow; a server that fails ends before


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    examples = ("", "digits", "digits --output elsewhere/results --port 5001")
    p = command_parser("orchestrator.ui", (__doc__ or "").splitlines()[0], examples)
    name = "name of the space, or of the experiment if --experiment was given (default: that of the newest sweep)"
    p.add_argument("experiment", nargs="?", help=name)
    p.add_argument("--output", type=Path, default=Path("results"), help="the sweep's folder (default: results)")
    p.add_argument("--tracking-uri", help="MLflow store or server (default: SQLite in the output folder)")
    p.add_argument("--port", type=int, default=5000, help="of the server that is started (default: %(default)s)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command until Ctrl-C; return 0, or 2 if there is no such store or experiment, or the port is taken."""
    given = parser().parse_args(arguments)
    # Imported now: --help need not wait for MLflow.
    from orchestrator import environment
    from orchestrator.report.mlflow_ui.view import link
    from orchestrator.results.moved_store import follow_moved_store
    from orchestrator.results.results import experiment_named
    from orchestrator.results.store import ReportError, connect, mlflow_errors, sqlite_uri
    from orchestrator.running.sweep_status import experiments_with_sweeps
    from orchestrator.terminal import say, terminal
    from search_spaces import SpaceError

    environment.prepare_reading()
    try:
        uri = given.tracking_uri or sqlite_uri(given.output.expanduser() / "mlflow.db")
        client = connect(uri)
        names = [given.experiment] if given.experiment else experiments_with_sweeps(uri)
        with mlflow_errors():
            page = link(experiment_named(client, names[0]).experiment_id)
        if uri.startswith("http"):
            return _show(f"{uri.rstrip('/')}/{page}")
        if _is_taken(given.port):
            raise ReportError(f"port {given.port} is taken; give another one with --port")
    except (ReportError, SpaceError) as error:
        say(terminal(stderr=True), f"ui: {error}", "red")
        return 2
    follow_moved_store(uri)
    return _serve(uri, given.port, page)


def _is_taken(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((HOST, port)) == 0


def _serve(uri: str, port: int, page: str) -> int:
    """Run MLflow's server until it ends or Ctrl-C; show `page` once it answers."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    # Not as an argument: a password of a database must not stand in process lists.
    surroundings = os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}
    with subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        try:
            if not _answers(server, port):
                server.terminate()
                assert server.stderr is not None
                sys.stderr.write(server.stderr.read().decode(errors="replace")[-2000:])
                return 1
            _show(f"http://{HOST}:{port}/{page}")
            server.communicate()
        except KeyboardInterrupt:
            pass
        finally:
            server.terminate()
    return 0


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers; return False if it ends before, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
                return True
        except OSError:
            time.sleep(0.3)
    return False


def _show(address: str) -> int:
    """Print the address, and open it where there is a screen."""
    from orchestrator.results.store import public
    from orchestrator.terminal import say, terminal

    say(terminal(), f"{public(address)}   (Ctrl-C ends)")
    if sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in SCREENS):
        open_address(address)
    return 0


if __name__ == "__main__":
    sys.exit(main())
