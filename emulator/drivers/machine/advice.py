"""The exact command for a human, where the doctor may not or cannot do it."""

import re
from collections.abc import Mapping, Sequence

from emulator.drivers.machine.computer import Packages

INSTALL_ENGINE: Mapping[Packages, str] = {
    Packages.APT: "sudo apt-get update && sudo apt-get install -y docker.io",
    Packages.DNF: "sudo dnf install -y moby-engine || sudo dnf install -y docker",
    Packages.BREW: "brew install --cask docker && open -a Docker",
    Packages.UNKNOWN: "install Docker: https://docs.docker.com/engine/install/",
}
INSTALL_MMDEBSTRAP: Mapping[Packages, str] = {
    Packages.APT: "sudo apt-get install -y mmdebstrap",
    Packages.DNF: "sudo dnf install -y mmdebstrap",
}
INSTALL_REGISTRY: Mapping[Packages, str] = {
    Packages.APT: "sudo apt-get install -y docker-registry && sudo systemctl disable --now"
    " docker-registry",
    Packages.DNF: "sudo dnf install -y docker-distribution",
}
JOIN_GROUP = "sudo usermod -aG docker $USER, then log in again (or run: newgrp docker)"
_LEGACY = (
    "The kernel may know only the older iptables:"
    " sudo update-alternatives --set iptables /usr/sbin/iptables-legacy"
)
_CGROUPS = (
    "Control groups are not mounted: sudo apt-get install -y cgroupfs-mount"
    " && sudo cgroupfs-mount; in a container this needs --privileged."
)
_OVERLAY = (
    "Overlay does not work on this file system (overlay on overlay?): put"
    ' {"storage-driver": "fuse-overlayfs"} or {"storage-driver": "vfs"}'
    " into /etc/docker/daemon.json"
)
_RIGHTS = (
    "This is a container without the rights for Docker: start it with --privileged,"
    " or mount the host's /var/run/docker.sock into it."
)
# What dockerd's log says, and what to do about it: the first that matches.
HINTS: Sequence[tuple[str, str]] = (
    (r"no space left", "The disk is full."),
    (r"iptables|nat chain|nft", _LEGACY),
    (r"cgroup", _CGROUPS),
    (r"overlay|graphdriver|storage-driver|driver not supported", _OVERLAY),
    (r"operation not permitted|permission denied", _RIGHTS),
)


def start_engine(packages: Packages, *, systemd: bool) -> str:
    """For an engine that is installed."""
    if packages is Packages.BREW:
        return "open -a Docker (or: colima start)"
    if systemd:
        return "sudo systemctl start docker"
    return "sudo sh -c 'dockerd >>/var/log/dockerd.log 2>&1 &'"


def hint_for(log: Sequence[str]) -> str:
    """What the end of dockerd's log most likely means; empty where nobody knows.

    The last line that speaks of a failure counts: warnings before it are usual.
    """
    for line in reversed(log):
        if re.search(r"fail|error|fatal|unable|cannot", line, re.IGNORECASE):
            for pattern, hint in HINTS:
                if re.search(pattern, line, re.IGNORECASE):
                    return hint
    return ""
