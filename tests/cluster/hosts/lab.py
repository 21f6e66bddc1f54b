"""Hosts of their own on this machine: network, processes, files and name apart, each with its own sshd, on one wire."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness import until

USER, UID = "sweeper", 4242
HOME = f"/home/{USER}"
PROGRAMS = (
    "ip",
    "ss",
    "unshare",
    "nsenter",
    "setpriv",
    "sshd",
    "ssh-keygen",
    "rsync",
    "cron",
    "crontab",
    "tmux",
    "git",
)
# What runs here dies with the test, however the test ends.
MORTAL = ("setpriv", "--pdeathsig", "KILL", "--")
OWN = ("--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--propagation", "private")
# The root of a host: the system's programs, and folders of its own that a power cut leaves as they are.
BOOT = """
set -euo pipefail
hostname "$name"
mkdir -p "$root" && mount -t tmpfs -o mode=755 tmpfs "$root"
show() { # a folder of this machine, under the same name or another; nobody can write to it
    local to=$root${2:-$1}
    mkdir -p "$to" && mount --bind "$1" "$to" && mount -o remount,bind,ro "$to"
}
for each in bin sbin lib lib32 lib64 libx32; do
    if [[ -L /$each ]]; then cp -a "/$each" "$root/"; elif [[ -d /$each ]]; then show "/$each"; fi
done
show /usr
while read -r shown; do [[ $shown == /usr/* ]] || show "$shown"; done <<< "$seen"
for each in etc home tmp var; do
    mkdir -p "$root/$each" && mount --bind "$own/$each" "$root/$each"
done
mkdir -p "$root/shared" && mount --bind "$shared" "$root/shared"
mkdir -p "$root/dev" && mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mkdir -p "$root/proc" "$root/run/sshd" "$root/sys" && mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
exec chroot "$root" /bin/bash -c '
trap "" HUP
/usr/sbin/sshd -e 2>> /var/log/sshd.log
/usr/sbin/cron
touch /run/up
while true; do sleep 3600 & wait $!; done' > /dev/null 2>&1 < /dev/null
"""
SSHD = """
Port 22
HostKey /etc/ssh/host_key
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile .ssh/authorized_keys
MaxStartups 100
"""


def lacking() -> str:
    """Return in a sentence why this machine cannot be several hosts; an empty one if it can."""
    if os.getuid():
        return "needs root, to make hosts of network and process namespaces"
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        return f"needs {', '.join(missing)} (apt-get install openssh-server rsync cron tmux iproute2 git)"
    tried = subprocess.run(["unshare", "--net", *OWN, "true"], capture_output=True, text=True, check=False)
    return f"network, mount and process namespaces are not allowed here: {tried.stderr.strip()}" * bool(
        tried.returncode
    )


class Network:
    """A network namespace. It has a process of its own, so that it outlives a host's power cut."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([*MORTAL, "unshare", "--net", "sleep", "infinity"])
        own = Path("/proc/self/ns/net").readlink()
        until(lambda: Path(f"/proc/{self._process.pid}/ns/net").readlink() != own, "a network namespace")
        self.enter = ("nsenter", f"--net=/proc/{self._process.pid}/ns/net", "--")
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        """Run `ip` in the namespace."""
        subprocess.run([*self.enter, "ip", *words], check=True)

    @property
    def pid(self) -> str:
        """Return the name that `ip link set … netns` takes."""
        return str(self._process.pid)

    def end(self) -> None:
        """Remove the namespace with its devices."""
        self._process.kill()
        self._process.wait()


class Lab:
    """One wire and its hosts. Nothing of it can be reached from this machine's own network, nor the other way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self.shared.mkdir()
        os.chown(self.shared, UID, UID)
        self.hosts: dict[str, Host] = {}
        self.wire = Network()
        self.wire.ip("link", "add", "wire", "type", "bridge")
        self.wire.ip("address", "add", "10.77.0.254/24", "dev", "wire")
        self.wire.ip("link", "set", "wire", "up")

    def host(self, name: str) -> Host:
        """Connect one more host, switched on."""
        self.hosts[name] = host = Host(self, name, number=len(self.hosts) + 1)
        host.boot()
        return host

    def end(self) -> None:
        """Switch all hosts off and remove the wire."""
        for host in self.hosts.values():
            host.cut_power()
            host.network.end()
        self.wire.end()


class Host:
    """A machine: a name, an address, disks that keep their contents, and processes while it has power."""

    def __init__(self, lab: Lab, name: str, number: int) -> None:
        self.name, self.address = name, f"10.77.0.{number}"
        self._lab, self._own = lab, lab.folder / name
        self.network = Network()
        self._port = f"to-{name}"
        self._process: subprocess.Popen[bytes] | None = None
        lab.wire.ip("link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", self.network.pid)
        lab.wire.ip("link", "set", self._port, "master", "wire", "up")
        self.network.ip("address", "add", f"{self.address}/24", "dev", "eth0")
        self._connected()
        self._install()

    @property
    def disk(self) -> Path:
        """Return the folder of this machine that holds the host's /etc, /home, /tmp and /var."""
        return self._own

    @property
    def home(self) -> Path:
        """Return the user's home folder, as seen from this machine."""
        return self._own / "home" / USER

    def boot(self) -> None:
        """Switch it on, and wait for sshd."""
        self.wired(True)
        places = {"name": self.name, "own": str(self._own), "root": str(self._own / "root")}
        places |= {"shared": str(self._lab.shared), "seen": "\n".join(shown())}
        command = [*MORTAL, *self.network.enter, "unshare", *OWN, "/bin/bash", "-c", BOOT]
        with (self._own / "boot.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=_environment() | places, stdout=log, stderr=log)
        process = self._process

        def up() -> bool:
            assert process.poll() is None, (self._own / "boot.log").read_text()
            with suppress(subprocess.CalledProcessError, IndexError):
                return not self.as_root("test", "-e", "/run/up", check=False).returncode
            return False

        until(up, f"{self.name} is up")

    def cut_power(self) -> None:
        """End all its processes at once, without a word on the network."""
        if self._process is None:
            return
        self.wired(False)
        os.kill(int(self._init()), signal.SIGKILL)
        self._process.wait()
        self._process = None

    def wired(self, connected: bool) -> None:
        """Plug its cable in, or pull it out."""
        self._lab.wire.ip("link", "set", self._port, "up" if connected else "down")

    @contextmanager
    def slowly_wired(self, seconds: float, share: float) -> Iterator[None]:
        """Exchange its cable for one that delays frames by `seconds` and loses a `share` of them."""
        wire, near, far, apart = self._lab.wire, f"near-{self.name}", f"far-{self.name}", f"by-{self.name}"
        script = Path(__file__).with_name("slow_wire.py")
        command = [*MORTAL, *wire.enter, sys.executable, str(script), near, far, str(seconds), str(share)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as carrier:
            assert carrier.stdout is not None
            assert carrier.stdout.readline(), "no taps"
            wire.ip("link", "add", apart, "type", "bridge")
            wire.ip("link", "set", apart, "up")
            wire.ip("link", "set", near, "master", "wire", "up")
            wire.ip("link", "set", far, "master", apart, "up")
            wire.ip("link", "set", self._port, "master", apart)
            try:
                yield
            finally:
                carrier.kill()
                wire.ip("link", "set", self._port, "master", "wire")
                wire.ip("link", "delete", apart)

    def freeze(self, frozen: bool) -> None:
        """Stop all its processes, as a host that hangs, or let them go on."""
        self.as_root("kill", "-STOP" if frozen else "-CONT", "--", "-1")

    def as_root(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on it as root, as its owner does; nothing of the project is run so."""
        command = [*self._enter(), *words]
        return subprocess.run(command, env=_environment(), capture_output=True, text=True, check=check, timeout=600)

    def start(self, script: str, **environment: str) -> subprocess.Popen[str]:
        """Start a script of bash as the user, in the home folder, as typed on the host."""
        user = ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--")
        command = [*MORTAL, *self._enter(), *user, "env", f"--chdir={HOME}", "bash", "-c", script]
        own = _environment() | {"HOME": HOME, "USER": USER, "LOGNAME": USER, "TERM": "xterm"} | environment
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=own, text=True, start_new_session=True, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, script: str, seconds: float = 900, **environment: str) -> tuple[int, str]:
        """Run a script of bash as the user; return the exit code and what it printed."""
        process = self.start(script, **environment)
        try:
            out, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as late:
            end(process)
            raise AssertionError(f"{self.name}: not within {seconds:g} s: {script}\n{late.output}") from late
        return process.returncode, out

    def do(self, script: str, seconds: float = 900, **environment: str) -> str:
        """Run a script of bash as the user, which must end well; return what it printed."""
        code, out = self.run(script, seconds, **environment)
        assert code == 0, f"{self.name}: {script}\nexit code {code}\n{out}"
        return out

    def _enter(self) -> list[str]:
        init = self._init()
        spaces = ("--mount", "--pid", "--uts", "--ipc", "--net")
        return ["nsenter", "--target", init, *spaces, f"--root=/proc/{init}/root", f"--wd=/proc/{init}/root"]

    def _init(self) -> str:
        """Return the process that all others of the host come from, by its number on this machine."""
        assert self._process is not None, f"{self.name} has no power"
        return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0]

    def _connected(self) -> None:
        self.network.ip("link", "set", "eth0", "up")
        self.network.ip("route", "replace", "default", "via", "10.77.0.254")

    def _install(self) -> None:
        """Give it disks with a system, a user, and a host key of its own."""
        etc, home = self._own / "etc", self.home
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        for folder in ("tmp", "var/tmp", "var/spool/cron/crontabs", "var/log", "var/lib", "var/empty"):
            (self._own / folder).mkdir(parents=True)
        for folder, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("var/spool/cron/crontabs", 0o1730)):
            (self._own / folder).chmod(mode)
        shutil.chown(self._own / "var/spool/cron/crontabs", group="crontab")
        (self._own / "var/run").symlink_to("/run")
        known = "".join(f"{host.address} {host.name}\n" for host in (*self._lab.hosts.values(), self))
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n{known}")
        (etc / "hostname").write_text(f"{self.name}\n")
        for name, line in (
            ("passwd", f"{USER}:x:{UID}:{UID}::{HOME}:/bin/bash"),
            ("shadow", f"{USER}:*:19000:0:99999:7:::"),
            ("group", f"{USER}:x:{UID}:"),
        ):
            with (etc / name).open("a") as file:
                file.write(f"{line}\n")
        (etc / "ssh/sshd_config").write_text(SSHD)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(etc / "ssh/host_key")], check=True)
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        self.give(home)

    @staticmethod
    def give(path: Path) -> None:
        """Let the user own what lies below a folder."""
        subprocess.run(["chown", "--recursive", "--no-dereference", f"{UID}:{UID}", str(path)], check=True)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a command that `Host.start` has started, with all that it has started on its host."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def shown() -> list[str]:
    """Return the folders of this machine that hosts see: the interpreter and the packages of the tests."""
    return list(dict.fromkeys(str(Path(path).resolve()) for path in (sys.base_prefix, sys.prefix)))


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
