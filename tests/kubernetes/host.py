"""What a kubelet leaves on its machine: settings of the kernel, which are put back, cgroups and a mount.

All else, links, rules and other mounts, lies in namespaces that end with the tests.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

SYSCTL, CGROUPS = Path("/proc/sys"), Path("/sys/fs/cgroup")
KERNEL = (
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


@contextlib.contextmanager
def kept(cgroup: str, kubelet: Path) -> Iterator[None]:
    """The machine is as it was after a kubelet whose cgroups are below `cgroup`, and whose folder is `kubelet`."""
    with _kernel(), _cgroups(cgroup), _mount(kubelet):
        yield


@contextlib.contextmanager
def _kernel() -> Iterator[None]:
    before = {path: path.read_text() for path in (SYSCTL / name for name in KERNEL)}
    try:
        yield
    finally:
        for path, text in before.items():
            if path.read_text() != text:
                path.write_text(text)


@contextlib.contextmanager
def _mount(folder: Path) -> Iterator[None]:
    """The kubelet mounts its folder on itself."""
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


@contextlib.contextmanager
def _cgroups(name: str) -> Iterator[None]:
    """A tree of its own in every hierarchy."""
    trees = [root / name for root in CGROUPS.iterdir() if root.is_dir() and not root.is_symlink()]
    for tree in trees:
        tree.mkdir(exist_ok=True)
    for setting in ("cpuset.cpus", "cpuset.mems"):  # which a new one has none of
        (CGROUPS / "cpuset" / name / setting).write_text((CGROUPS / "cpuset" / setting).read_text())
    try:
        yield
    finally:
        subprocess.run(["find", *trees, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False)
