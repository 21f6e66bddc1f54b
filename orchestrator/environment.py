"""Environment variables that libraries read at import; call these functions before the imports."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

ALWAYS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # they copy what MLflow holds, and are 2.6 times slower
    "TUNE_MAX_PENDING_TRIALS_PG": "200",  # else Tune requests one at a time and a cluster grows by one node at a time
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the driver handles Ctrl-C
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without a GPU must not see one
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a box even with verbose=0
}
HERE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for "bind to 127.0.0.1 only"
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
}
FOREIGN = ("TUNE_", "RAY_AIR_", "RAY_TUNE_")  # begin the names of variables that users set for their own use of Tune
TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
PATIENT = {  # a report waits for a busy server; a trial must not
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}


def prepare_reading() -> None:
    """Allow requests to a tracking server to take longer. For a report's process only."""
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)


def prepare_ray(address: str | None) -> None:
    """Set the environment for a Ray of our own (no address) or for joining a cluster."""
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]  # Tune refuses to start with some of them, and others delay what trials report
    os.environ.update(ALWAYS)
    if address is None:
        # A token for this sweep only; without one, Ray writes a token into the home folder.
        os.environ.update(HERE)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray keeps the first token that it reads
        return
    if os.environ.keys() & TOKENS or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray looks for the token by itself only for "auto"


def prepare_matplotlib(output: Path) -> None:
    """Keep matplotlib's font cache in the output folder instead of the home folder."""
    os.environ.setdefault("MPLCONFIGDIR", str((output / ".matplotlib").resolve()))
