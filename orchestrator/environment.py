"""Environment variables that libraries read while they are imported: so this comes before."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

ALWAYS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # copies of what MLflow has, and 2.6 times slower
    "TUNE_MAX_PENDING_TRIALS_PG": "200",  # else one at a time is asked for, and a cluster grows a node at a time
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver decides what Ctrl-C means
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that asked for no GPU must not see one
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a box even when told to be silent
}
HERE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for "bind to 127.0.0.1 only"
    "RAY_AUTH_MODE": "token",
}
TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
PATIENT = {  # a report waits for a busy server; a trial must not
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


def prepare_reading() -> None:
    """Let requests to a tracking server take their time. For the process of a report alone."""
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)


def prepare_ray(address: str | None) -> None:
    """Set the environment for a Ray of our own (no address) or for joining a cluster."""
    os.environ.update(ALWAYS)
    if address is None:
        # A token of this sweep's own: left to itself Ray writes one into the home folder.
        os.environ.update(HERE)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray keeps the first one it has seen
        return
    if os.environ.keys() & TOKENS or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray finds the token by itself only for "auto"


def prepare_matplotlib(output: Path) -> None:
    """Its font cache belongs into our folder like everything else, not into the home folder."""
    os.environ.setdefault("MPLCONFIGDIR", str((output / ".matplotlib").resolve()))
