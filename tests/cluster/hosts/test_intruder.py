"""Who listens where on the nodes, and what somebody on their network gets who has no token."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from lab import Host
from on_premise import OnPremise
from page import DOCS

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
WRONG = "0" * 64
RAY = (
    "gcs_server",
    "raylet",
    "ray::",
    "/ray/dashboard/",
    "/ray/_private/",
    "/ray/autoscaler/",
    "ray.util.client.server",
)
RAY += ("orchestrator.sweep",)  # a driver's own port
# What the ports of a node answer to HTTP without a token: the code, and how the answer begins.
PROBE = """
import json, sys, urllib.error, urllib.request as web
JOB = b'{"entrypoint": "touch /tmp/intruder"}'
told = {}
for address in json.loads(sys.argv[1]):
    for path, body in (("/", None), ("/api/job_agent/jobs/", JOB), ("/api/jobs/", JOB), ("/api/healthz", None)):
        request = web.Request(f"http://{address}{path}", body, {"Content-Type": "application/json"})
        try:
            with web.build_opener(web.ProxyHandler({})).open(request, timeout=10) as answer:
                told[address + path] = answer.status, answer.read(40).decode(errors="replace")
        except urllib.error.HTTPError as error:
            told[address + path] = error.code, ""
        except Exception as error:
            told[address + path] = 0, repr(error)
print(json.dumps(told))
"""
# Counters for Prometheus and a sign of life: Ray gives them to everybody, and docs/cluster.md says so.
HARMLESS = ("# HELP", "# TYPE", "raylet: success")
CONNECT = "import ray; ray.init({address!r}); print('IN', ray.nodes())"


@dataclass(frozen=True)
class Listener:
    """A port that listens, and the command line of who holds it."""

    address: str
    port: int
    command: str

    @property
    def local(self) -> bool:
        """Return True if only the host itself reaches it."""
        return self.address.startswith(("127.", "[::1]", "[::ffff:127."))

    @property
    def who(self) -> str:
        """Return the program in a word or two."""
        known = next((word for word in RAY if word in self.command), "")
        return self.command.split()[0] if known in ("ray::", "") else known.strip("/")


def listeners(host: Host) -> list[Listener]:
    """Return all that listens on a host."""
    found = []
    for line in host.as_root(
        "ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"
    ).stdout.splitlines():
        address, _, port = line.split()[3].rpartition(":")
        pid = line.partition("pid=")[2].partition(",")[0]
        command = host.as_root("ps", "-o", "args=", "-p", pid, check=False).stdout.strip()
        found.append(Listener(address, int(port), command))
    return found


@pytest.fixture(scope="module")
def intruder(cluster: OnPremise) -> Host:
    """A host on the same wire with the same programs, and without the token."""
    cluster.all_alive()
    host = cluster.lab.host("intruder")
    cluster.equip(host)
    return host


def test_only_ssh_and_ray_listen_beyond_the_node(
    cluster: OnPremise, intruder: Host, record_property: Callable[[str, object], None]
) -> None:
    seen = {host: listeners(host) for host in (cluster.head, *cluster.workers)}
    rows = [(host.name, each.port, each.address, each.who) for host, found in seen.items() for each in found]
    record_property("listeners", "\n".join("{:12}{:<8}{:24}{}".format(*row) for row in sorted(rows)))
    for host, found in seen.items():
        beyond = [each for each in found if not each.local and each.port != 22]
        assert [each for each in beyond if not any(word in each.command for word in RAY)] == [], host.name
    table = re.findall(r"^\| ([\d, ]+)[^|]*\| (.*?) \|", DOCS.partition("## Open ports")[2], re.M)
    documented = {int(port): "loopback" in where for ports, where in table for port in re.findall(r"\d+", ports)}
    on_head: dict[int, bool] = {}  # by port: True if only the head itself reaches it
    for each in seen[cluster.head]:
        on_head[each.port] = each.local and on_head.get(each.port, True)
    assert documented == {port: local for port, local in on_head.items() if port in documented}


def test_ssh_wants_the_key_and_the_token_is_its_owners(cluster: OnPremise, intruder: Host) -> None:
    hosts = (cluster.head, *cluster.workers)
    for host in hosts:
        options = "-o StrictHostKeyChecking=no -o BatchMode=yes"
        code, out = intruder.run(f"ssh {options} {host.address} true")
        assert code == 255 and "Permission denied (publickey)" in out, out
    token = cluster.documented("cat ~/.ray/auth_token")
    for host in (cluster.laptop, *hosts):
        assert host.do("stat --format=%a ~/.ray/auth_token").strip() == "600"
        assert host.do("cat ~/.ray/auth_token") == token


def test_who_has_no_token_gets_counters_only(cluster: OnPremise, intruder: Host) -> None:
    hosts = (cluster.head, *cluster.workers)
    ports = [f"{host.address}:{each.port}" for host in hosts for each in listeners(host) if not each.local]
    ports += [f"{cluster.head.address}:{port}" for port in (5000, 8265)]
    (intruder.home / "probe.py").write_text(PROBE)
    asked = f"python3 probe.py '{json.dumps(ports)}'"
    told: dict[str, tuple[int, str]] = json.loads(intruder.do(asked))
    for port in (5000, 8265):
        assert "refused" in told[f"{cluster.head.address}:{port}/"][1], "reached from another host"
    served = {where: text for where, (code, text) in told.items() if 200 <= code < 400}
    assert {where: text for where, text in served.items() if not text.startswith(HARMLESS)} == {}
    assert 401 in {code for code, _ in told.values()}
    for host in hosts:
        assert host.as_root("test", "-e", "/tmp/intruder", check=False).returncode


@pytest.mark.parametrize("token", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WRONG}])
@pytest.mark.parametrize("door", ["{head}:6379", "ray://{head}:10001"])
def test_ray_refuses_a_driver(cluster: OnPremise, intruder: Host, door: str, token: dict[str, str]) -> None:
    address = door.format(head=cluster.head.address)
    code, out = intruder.run(f'timeout 600 ~/venv/bin/python -c "{CONNECT.format(address=address)}"', **token)
    assert code and "IN" not in out.split(), out
    assert "token" in out.lower() or "ray client connection timeout" in out, out  # Ray's client tries again for 30 s
    _, _, port = address.rpartition(":")
    assert not intruder.run(f": < /dev/tcp/{cluster.head.address}/{port}")[0], "nobody listens: nothing was refused"


def test_ray_refuses_a_node(cluster: OnPremise, intruder: Host) -> None:
    join = f"timeout 600 ~/venv/bin/ray start --disable-usage-stats --address={cluster.head.address}:6379"
    code, out = intruder.run(join, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=WRONG)
    assert code, out
    assert cluster.alive() == len(cluster.workers)
