"""A sweep on GlusterFS with its default options, which shows a node late what another one has written."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest
from lab import USER
from on_premise import EPOCHS, TRIALS, OnPremise, finished
from test_host_faults import Numbers, Record, under_way

PROGRAMS = ("glusterd", "gluster", "glusterfs")
lacking = [name for name in PROGRAMS if shutil.which(name) is None]
reason = f"needs {', '.join(lacking)} (apt-get install glusterfs-server glusterfs-client)"
pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.skipif(bool(lacking), reason=reason)]
SERVE = """
mkdir -p /var/gluster /var/log/glusterfs /var/lib/glusterd && chown {user}: /var/gluster
glusterd && gluster volume create shared {head}:/var/gluster force && gluster volume start shared
"""
MOUNT = "mkdir -p /gluster /var/log/glusterfs && mount -t glusterfs {head}:/shared /gluster"


@pytest.fixture(scope="module")
def volume(cluster: OnPremise) -> Iterator[str]:
    """A volume that the head serves, mounted by each host for itself; return where."""
    head = cluster.head
    head.as_root("bash", "-c", SERVE.format(head=head.address, user=USER))
    for host in (head, *cluster.workers):
        host.as_root("bash", "-c", MOUNT.format(head=head.address))
    cluster.folders["/gluster"] = head.disk / "var/gluster"
    yield "/gluster"
    for host in (*cluster.workers, head):
        host.as_root("umount", "--lazy", "/gluster")
    head.as_root("pkill", "gluster")


@pytest.mark.parametrize("seconds", [0, 20])
def test_a_sweep_on_glusterfs(
    cluster: OnPremise, volume: str, undisturbed: Numbers, record_property: Record, seconds: float
) -> None:
    record_property("fault", f"/shared is GlusterFS; a worker's cable is out for {seconds} s")
    sweep, driver, victim = under_way(cluster, f"gluster-{seconds}", volume)
    victim.wired(seconds == 0)
    time.sleep(seconds)  # the fault itself
    victim.wired(True)
    finished(driver)
    assert sweep.results() == undisturbed
    again = sweep.records.recorded() - TRIALS * EPOCHS
    record_property("cost", f"all trials finished, the same numbers, {again} epochs again")
