"""A real PostgreSQL of the test's own, on a Unix socket in its folder, which can be killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import until

_FOUND = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # Debian and Ubuntu keep it out of PATH
_INITDB = shutil.which("initdb")
PROGRAMS = Path(_INITDB).resolve().parent if _INITDB else _FOUND[-1] if _FOUND else None
installed = pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed (apt-get install postgresql)")


def somebody() -> list[str]:
    """What to put before a command that must not be root; skips the test where that cannot be had."""
    if os.getuid():
        return []
    user = pwd.getpwnam("postgres")  # in a user namespace we are somebody else, and our files are theirs
    words = ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("we are root, and user namespaces are not allowed here")
    return words


class Postgres:
    """One server; `uri` is what `mlflow server` takes."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAMS is not None
        self._folder, self._who, self._programs = folder, somebody(), PROGRAMS
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        folder.chmod(0o700)  # which keeps others from the socket: it asks nobody for a password
        options = ["--pgdata", str(folder / "data"), "--username", "mlflow", "--auth", "trust", "--encoding", "UTF8"]
        subprocess.run([*self._who, str(PROGRAMS / "initdb"), *options], capture_output=True, check=True)
        self.uri = f"postgresql+psycopg2://mlflow@/postgres?host={folder}"
        self.start()

    def start(self) -> None:
        """Start it and wait for it to answer."""
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self._folder}"]
        command = [*self._who, str(self._programs / "postgres"), "-D", str(self._folder / "data"), *settings]

        def answers() -> bool:
            if self._process is None or self._process.poll() is not None:  # those that a killed one left still leave
                with (self._folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(command, stdout=log, stderr=log)
            asked = [str(self._programs / "pg_isready"), "--quiet", "--host", str(self._folder), "--dbname", "postgres"]
            return not subprocess.run(asked, check=False).returncode

        until(answers, "PostgreSQL answers", pause=0.2)

    def kill(self) -> None:
        """SIGKILL the one process that all others of it watch."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it without waiting for those who are connected."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
