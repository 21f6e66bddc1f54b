#!/usr/bin/env bash
# What every node of a cluster needs, head or worker: the file system that all share, and this checkout installed with
# the versions that constraints.txt pins. Run a second time it changes nothing.
#
#   deploy/node.sh [NFS_SERVER:/PATH]    mounts it at /shared; without it, /shared is there already
set -euo pipefail
chmod 600 ~/.ray/auth_token # first: until then it has the rights that it has on the machine of `ray up`
cd "$(dirname "$0")/.."

apt_install() {
    sudo apt-get -o DPkg::Lock::Timeout=300 -qq update # a fresh machine still runs its own upgrades, and holds the lock
    sudo DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq install --yes --no-install-recommends "$@"
}

if [[ $# -gt 0 ]] && ! mountpoint --quiet /shared; then
    command -v mount.nfs4 > /dev/null || apt_install nfs-common
    sudo mkdir -p /shared
    # "hard": a trial waits for a file system that is away; with "soft" it would read and write errors.
    sudo mount -t nfs4 -o nfsvers=4.1,hard,noresvport "$1" /shared
    [[ -w /shared ]] || sudo chown "$USER" /shared
fi
[[ -w /shared ]] || { echo "deploy/node.sh: /shared cannot be written on $(hostname)" >&2; exit 1; }

# Beside the checkout, not in it: Ray hashes every file of what file_mounts names, thousands of torch's among them.
venv=$HOME/venv
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "deploy/node.sh: Python 3.11 or newer is needed, $python on $(hostname) is $("$python" --version)" >&2
    exit 1
fi
if [[ ! -x $venv/bin/pip ]]; then
    "$python" -c 'import ensurepip' 2> /dev/null || apt_install python3-venv # Debian's and Ubuntu's Python comes without
    "$python" -m venv "$venv"
fi
"$venv/bin/pip" install --quiet --constraint constraints.txt --editable '.[cluster]'

# With NVIDIA's MPS, trials that share a GPU run on it at the same time; without it they take turns (docs/gpus.md). A
# second daemon is refused, and none is needed.
if command -v nvidia-cuda-mps-control > /dev/null && nvidia-smi --list-gpus > /dev/null 2>&1; then
    nvidia-cuda-mps-control -d > /dev/null 2>&1 || true
fi

# For commands typed on the node, and for `ray exec`, `ray submit` and `ray job submit`. Without RAY_AUTH_MODE even
# `ray status` is refused.
for line in "export PATH=$venv/bin:\$PATH" 'export RAY_AUTH_MODE=token'; do
    grep -qxF "$line" ~/.bashrc 2> /dev/null || echo "$line" >> ~/.bashrc
done
