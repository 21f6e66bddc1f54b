"""deploy/on-premise.yaml in the lab: a laptop, a head and two workers, with the commands that docs/cluster.md shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Sweep, until
from lab import HOME, USER, Host, Lab, end
from page import ROOT, documented

SENT = (
    "orchestrator",
    "trainables",
    "pruners",
    "search_spaces",
    "deploy",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
)
WORKERS = ("worker-1", "worker-2")
YES = ("my-cluster.yaml", "my-cluster.yaml --yes")  # instead of `y` at Ray's question, which wants a terminal
V1 = {"RAY_UP_enable_autoscaler_v2": "0"}
EPOCHS = 20
GRID = ("digits", "--set", "architecture=conv", "--set", "pruner=[random,snip]", "--set", "compression=[1,4]")
GRID += ("--set", f"epochs={EPOCHS}", "--checkpoint-every", "0.5s")
TRIALS = 3
MLFLOW = "http://127.0.0.1:5000"


# No internet; the checkout is built by the setuptools that is there ("false" means that pip does not install another).
PIP = f"[global]\nno-index = true\nfind-links = {HOME}/wheels\n[install]\nno-build-isolation = false\n"


class OnPremise:
    """The cluster of a user with machines of their own: `ray up` has not been typed yet."""

    def __init__(self, lab: Lab, wheels: Path) -> None:
        self.lab = lab
        self.folders = {"/shared": lab.shared}  # that the hosts share: where they lie on this machine
        self.laptop, self.head = lab.host("laptop"), lab.host("head")
        self.workers = [lab.host(name) for name in WORKERS]
        self._interpreter(wheels)
        self._checkout()
        for host in (self.head, *self.workers):
            self.equip(host)
        self._key()

    def documented(self, *parts: str, swap: tuple[str, str] | None = None, **environment: str) -> str:
        """Type a command of docs/cluster.md in the checkout on the laptop, with one word swapped for another."""
        command = documented(*parts)
        return self.type(command.replace(*swap, 1) if swap else command, **environment)

    def type(self, command: str, **environment: str) -> str:
        """Type a command in the checkout on the laptop, which must end well."""
        return self.laptop.do(f"cd checkout && {command}", **environment)

    def watch(self, command: str, text: str) -> None:
        """Type a command that wants a terminal, wait until it shows a text, and close the terminal."""
        typed = f"cd checkout && PATH=$PWD/.venv/bin:$PATH script --quiet --flush --command '{command}' ~/shown"
        shown = self.laptop.home / "shown"
        terminal = self.laptop.start(typed)
        try:
            until(lambda: shown.exists() and text in shown.read_text(errors="replace"), f"'{text}' is shown", pause=1)
        finally:
            end(terminal)

    def up(self, command: str = "") -> None:
        """Start the cluster, or start Ray on it anew. Users type it again as well if it fails.

        Ray gives a node 30 s to start, whatever the machine, and a busy one needs more.
        """
        command = (command or documented(".venv/bin/ray up")).replace(*YES)
        typed = f"cd checkout && PATH=$PWD/.venv/bin:$PATH && {command}"
        for again in range(5, -1, -1):
            code, out = self.laptop.run(typed, **V1)
            if not code:
                return
            assert again and "timed out during startup" in out, out[-3000:]

    def alive(self) -> int:
        """Return how many workers Ray has now, by `ray status` on the head."""
        code, out = self.head.run("RAY_AUTH_MODE=token ~/venv/bin/ray status")
        found = re.search(r"^ *(\d+) local\.cluster\.node", out.partition("Pending")[0], re.M)
        nodes = int(found[1]) if found and not code else 0
        return max(nodes - 1, 0)  # the head is of the same type

    def all_alive(self) -> None:
        """Wait for all workers; set those up again whose Ray did not start in time, as docs/cluster.md says."""
        for again in range(5, -1, -1):
            try:
                until(lambda: self.alive() == len(WORKERS), f"{len(WORKERS)} workers have joined", 240, pause=2)
            except AssertionError:
                assert again
                self.up(documented("RAY_UP_enable_autoscaler_v2=0 ray up"))
            else:
                return

    def busy(self) -> Host:
        """Wait for a worker that runs a trial, and return it."""
        found: list[Host] = []
        until(lambda: found.extend(each for each in self.workers if _trials(each)) or found, "a trial runs")
        return found[0]

    def sweep(self, name: str, *arguments: str, epochs: int, place: str = "/shared") -> ClusterSweep:
        """Return a sweep with an experiment of its own, and an output folder of its own in a shared folder."""
        return ClusterSweep(self, name, arguments, epochs, place)

    def sweeping(self) -> bool:
        """Return True if a driver runs on the head."""
        return not self.head.as_root("pgrep", "--full", "orchestrator[.]sweep", check=False).returncode

    @contextmanager
    def tunnel(self) -> Iterator[None]:
        """Hold the documented tunnel open: MLflow and the dashboard on the laptop's loopback."""
        attached = self.laptop.start("cd checkout && " + documented("ray attach", "--port-forward"))
        try:
            ports = "(: < /dev/tcp/127.0.0.1/5000) && (: < /dev/tcp/127.0.0.1/8265)"
            until(lambda: attached.poll() is not None or not self.laptop.run(ports)[0], "the tunnel is open", pause=1)
            assert attached.poll() is None, attached.communicate()[0]
            yield
        finally:
            end(attached)

    def _interpreter(self, wheels: Path) -> None:
        """Give every home the virtual environment that `make install` makes, over the packages of the tests.

        deploy/node.sh then runs pip as ever, which finds all packages there and installs the copied checkout only. What
        the laptop lacks comes from `wheels`.
        """
        base = Path(sys.base_prefix).resolve() / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copytree(wheels, self.laptop.home / "wheels")
        for host in self.lab.hosts.values():
            (host.home / ".config/pip").mkdir(parents=True)
            (host.home / ".config/pip/pip.conf").write_text(PIP)
            (host.home / ".bashrc").write_text(f"export PYTHON={base}\n")
            host.give(host.home)
        packages = Path(sysconfig.get_path("purelib")).resolve()
        self.laptop.do(f"{base} -m venv --without-pip ~/venv")
        there = self.laptop.home / "venv"
        (next(there.glob("lib/python*/site-packages")) / "tests.pth").write_text(f"{packages}\n")
        for name in ("pip", "ray", "mlflow"):
            script = (Path(sys.prefix) / "bin" / name).read_text().splitlines()
            script[0] = f"#!{HOME}/venv/bin/python"
            (there / "bin" / name).write_text("\n".join(script) + "\n")
            (there / "bin" / name).chmod(0o755)
        self.laptop.do("~/venv/bin/pip install --quiet 'setuptools>=77'")

    def equip(self, host: Host) -> None:
        """Copy the laptop's virtual environment to a host."""
        shutil.copytree(self.laptop.home / "venv", host.home / "venv", symlinks=True)
        host.give(host.home / "venv")

    def _checkout(self) -> None:
        """Copy the checkout to the laptop and do there what docs/cluster.md says, up to the token."""
        checkout = self.laptop.home / "checkout"
        checkout.mkdir()
        for name in SENT:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, checkout / name)
        (checkout / ".venv").symlink_to(f"{HOME}/venv")
        (checkout / ".gitignore").write_text("my-cluster.yaml\n.venv\n__pycache__\nreport\n")
        self.laptop.give(checkout)
        git = "git -c user.name=test -c user.email=test@localhost"
        self.type(f"git init --quiet && git add . && {git} commit --quiet --message test")
        self.documented("cp cluster.yaml", swap=("cluster.yaml", "deploy/on-premise.yaml"))
        copied = checkout / "my-cluster.yaml"
        text = copied.read_text(encoding="utf-8").replace("head_ip: CHANGEME", f"head_ip: {self.head.address}")
        text = text.replace("[CHANGEME, CHANGEME]", f"[{', '.join(worker.address for worker in self.workers)}]")
        text = text.replace("ssh_user: CHANGEME", f"ssh_user: {USER}")
        assert "CHANGEME" not in re.sub(r"#.*", "", text)
        copied.write_text(text, encoding="utf-8")
        self.documented(".venv/bin/pip install")
        self.documented("ray get-auth-token")
        self.documented("chmod 600")

    def _key(self) -> None:
        """Make the key of the cluster's own, and let it in everywhere."""
        self.laptop.do("ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/pruning-sweeps")
        key = (self.laptop.home / ".ssh/pruning-sweeps.pub").read_text()
        for host in (self.head, *self.workers):
            (host.home / ".ssh/authorized_keys").write_text(key)
            host.give(host.home / ".ssh")


class ClusterSweep:
    """A sweep on the cluster under a name of its own."""

    def __init__(self, cluster: OnPremise, name: str, arguments: tuple[str, ...], epochs: int, place: str) -> None:
        self._cluster, self.name = cluster, name
        self.records = Sweep(cluster.folders[place] / name, (), epochs)
        words = [*arguments, "--experiment", name, "--address", "auto", "--output", f"{place}/{name}/out"]
        self.words = " ".join([*(f"'{word}'" for word in words), "--tracking-uri", MLFLOW])

    def start(self) -> subprocess.Popen[str]:
        """Start it from the laptop by `ray exec`, as a user who stays to watch."""
        typed = f'.venv/bin/ray exec my-cluster.yaml "cd pruning-sweeps && python -m orchestrator.sweep {self.words}"'
        return self._cluster.laptop.start(f"cd checkout && {typed}")

    def finish(self) -> None:
        """Start it and wait for its end; everything must be done then."""
        finished(self.start())

    def results(self, host: Host | None = None) -> dict[str, dict[str, float]]:
        """Return the final metrics by fingerprint, as `results` does; `host` is the head by default."""
        return results(host or self._cluster.head, self.name, self.records.epochs)


def _trials(host: Host) -> bool:
    return not host.as_root("pgrep", "--full", "ray::ImplicitFunc", check=False).returncode


def finished(driver: subprocess.Popen[str], seconds: float = 900) -> str:
    """Wait for the end of a sweep, which must be a good one; return what it printed."""
    out, _ = driver.communicate(timeout=seconds)
    assert driver.returncode == 0, out
    return out


def results(host: Host, experiment: str, epochs: int) -> dict[str, dict[str, float]]:
    """Return what `Sweep.results` says when it is asked from the network of `host`, of MLflow on its loopback."""
    code = "import json; from pathlib import Path; from harness import Sweep\n"
    code += f"print(json.dumps(Sweep(Path('.'), (), {epochs}).results({MLFLOW!r}, {experiment!r})))"
    return json.loads(_ask(host, code))  # type: ignore[no-any-return]


def runs(host: Host, experiment: str) -> list[tuple[str, str]]:
    """Return kind and status of all runs of an experiment, from MLflow on the loopback of `host`."""
    code = f"import json; from mlflow import MlflowClient; client = MlflowClient({MLFLOW!r})\n"
    code += f"found = client.get_experiment_by_name({experiment!r})\n"
    code += "runs = client.search_runs([found.experiment_id]) if found else []\n"
    code += "print(json.dumps([(run.data.tags.get('kind'), run.info.status) for run in runs]))"
    return [(kind, status) for kind, status in json.loads(_ask(host, code))]


def _ask(host: Host, code: str) -> str:
    """Run Python with the files of this machine in the network of a host."""
    own = os.environ | {"PYTHONPATH": f"{ROOT}:{Path(__file__).parents[1]}"}
    command = [*host.network.enter, sys.executable, "-c", code]
    asked = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr
    return asked.stdout
