"""Slurm on hosts of their own: a login node with the controller, and two compute nodes that share a folder with it."""

from __future__ import annotations

import secrets
import shutil
import sys
from pathlib import Path

from harness import Sweep, until
from lab import Host, Lab
from on_premise import SENT
from page import ROOT, documented
from slurm import configuration, munged

FOLDER = Path("/var/lib/slurm-test")
CHECKOUT = "/shared/checkout"


class SlurmHosts:
    """Three hosts, with one CPU for jobs on each compute node: a trial for each."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.login, *self.nodes = (lab.host(name) for name in ("login", "node-1", "node-2"))
        self._key = secrets.token_bytes(128)
        addresses = {node.name: node.address for node in self.nodes}
        controller = f"{self.login.name}({self.login.address})"
        conf = configuration(FOLDER, controller, (6817, 6818), addresses, cpus=1)
        checkout = lab.shared / "checkout"
        checkout.mkdir()
        for name in SENT:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, checkout / name)
        (checkout / ".venv").symlink_to(sys.prefix)
        self.login.give(checkout)
        for host in (self.login, *self.nodes):
            self._install(host, conf)
        self.start(self.login, "slurmctld")
        for node in self.nodes:
            self.start(node, "slurmd")
        self.all_idle()

    def start(self, host: Host, daemon: str) -> None:
        """Start munged and a daemon of Slurm on a host, as its system does when it boots."""
        command = f"{' '.join(munged(FOLDER))} && {daemon} > /dev/null 2>&1 < /dev/null"
        host.as_root("bash", "-c", command)

    def all_idle(self) -> None:
        """Wait until Slurm can use both nodes."""
        until(lambda: self._states() == ["idle"] * len(self.nodes), "both nodes are idle", pause=0.5)

    def submit(self, options: str, name: str, *arguments: str) -> str:
        """Submit a sweep as docs/cluster.md says, with other limits; return the job's id."""
        before, _, _ = documented("sbatch --nodes=2").partition(" --gpus-per-node")
        line = f"{before} --parsable {options} --output={CHECKOUT}/{name}.log deploy/slurm.sbatch"
        words = " ".join(f"'{word}'" for word in (*arguments, "--output", f"/shared/{name}/out"))
        return self.login.do(f"cd {CHECKOUT} && {line} {words}").strip()

    def records(self, name: str) -> Sweep:
        """Return the records of the sweep that was submitted under a name."""
        return Sweep(self.lab.shared / name, (), 0)

    def log(self, name: str) -> str:
        """Return what the job has printed."""
        return (self.lab.shared / "checkout" / f"{name}.log").read_text()

    def show(self, job: str, key: str) -> str:
        """Return a field of a job: JobState, Restarts, ExitCode."""
        words = self.login.do(f"scontrol show job {job}").split()
        return next((word.partition("=")[2] for word in words if word.startswith(f"{key}=")), "")

    def raylets(self) -> list[int]:
        """Return how many raylets run on each compute node."""
        return [self._count(node, "raylet/raylet --") for node in self.nodes]

    def trials(self) -> list[int]:
        """Return how many trials run on each compute node."""
        return [self._count(node, "ray::ImplicitFunc") for node in self.nodes]

    def ray_files(self, job: str) -> bool:
        """Return True if a compute node still has files of the job's Ray."""
        return any(not node.as_root("test", "-e", f"/tmp/ray-{job}", check=False).returncode for node in self.nodes)

    def _states(self) -> list[str]:
        return self.login.run("sinfo --Node --noheader --format=%t")[1].split()

    @staticmethod
    def _count(node: Host, command: str) -> int:
        return len(node.as_root("pgrep", "--full", command, check=False).stdout.split())

    def _install(self, host: Host, conf: str) -> None:
        """Give a host the configuration, the key, and folders for the daemons' state."""
        var = host.disk / FOLDER.relative_to("/")
        for folder in (var / "state", var / "spool", host.disk / "etc/slurm"):
            folder.mkdir(parents=True, exist_ok=True)
        (host.disk / "etc/slurm/slurm.conf").write_text(conf)
        (var / "munge.key").write_bytes(self._key)
        (var / "munge.key").chmod(0o600)
