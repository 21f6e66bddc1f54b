"""Slurm for a test: munged, slurmctld and one slurmd on this machine, in a folder of their own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from harness import free_port, until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
_lacking = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
installed = pytest.mark.skipif(
    bool(_lacking) or os.getuid() != 0,
    reason=f"needs root and apt-get install slurmctld slurmd munge (lacking: {', '.join(_lacking) or 'root'})",
)
CONF = """
ClusterName=test
SlurmctldHost={controller}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
OverTimeLimit=30
KillWait=10
SlurmdTimeout=20
SlurmdParameters=config_overrides
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
MUNGE = {"key-file": "munge.key"} | {f"{name}-file": f"munge.{name}" for name in ("pid", "log", "seed")}
MUNGE |= {"socket": "munge.socket"}


def configuration(folder: Path, controller: str, ports: tuple[int, int], nodes: dict[str, str], cpus: int) -> str:
    """Return slurm.conf; `controller` is NAME(ADDRESS), `nodes` are addresses by name."""
    lines = [f"NodeName={name} NodeAddr={address} CPUs={cpus} State=UNKNOWN\n" for name, address in nodes.items()]
    return CONF.format(folder=folder, controller=controller, ports=ports) + "".join(lines)


def munged(folder: Path) -> list[str]:
    """Return the command that starts munged with its files in a folder of root's."""
    return ["munged", "--force", *(f"--{option}={folder / name}" for option, name in MUNGE.items())]


class Slurm:
    """A controller and one node with four CPUs. A job's time limit is kept with a margin, as on a slow machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = os.uname().nodename
        conf = folder / "slurm.conf"
        ports = free_port(), free_port()
        conf.write_text(configuration(folder, f"{host}(127.0.0.1)", ports, {host: "127.0.0.1"}, cpus=4))
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        self.environment = os.environ | {"SLURM_CONF": str(conf), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        self._processes = [self._start(*munged(folder), "--foreground")]
        until((folder / "munge.socket").exists, "munged listens")
        self._processes += [self._start("slurmctld", "-D"), self._start("slurmd", "-D")]
        until(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%t"), "the node is idle")

    def run(self, *command: str) -> str:
        """Return what a command of Slurm prints; errors included."""
        done = subprocess.run(
            command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        return done.stdout

    def submit(self, *arguments: str, cwd: Path, **environment: str) -> str:
        """Submit a job with sbatch and return its id."""
        done = subprocess.run(
            ["sbatch", "--parsable", *arguments],
            env=self.environment | environment,
            cwd=cwd,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str, key: str) -> str:
        """Return a field of a job: JobState, Restarts, ExitCode."""
        words = self.run("scontrol", "show", "job", job).split()
        return next((word.partition("=")[2] for word in words if word.startswith(f"{key}=")), "")

    def stop(self) -> None:
        """Cancel all jobs and end Slurm."""
        self.run("scancel", "--full", f"--user={os.environ.get('USER', 'root')}")
        with suppress(AssertionError):
            until(lambda: not self.run("squeue", "--noheader").strip(), "no job is left", seconds=60)
        for process in reversed(self._processes):
            process.terminate()
            process.wait(timeout=60)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command[0]}.out").open("wb") as log:
            return subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
