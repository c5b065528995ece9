"""Looking at a host and at a file system, without JAX."""

import importlib.metadata
import os
import platform
import resource
import shutil
import socket
import time
from pathlib import Path

from experiments.diagnosis.report import Disk, Machine
from pnol_jax.files import write_atomically

VARIABLES = (
    "JAX_",
    "XLA_",
    "CUDA_VISIBLE_DEVICES",
    "NCCL_",
    "OMP_NUM_THREADS",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


def look_at_machine() -> Machine:
    """This host."""
    return Machine(
        host=socket.gethostname(),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        cores=len(os.sched_getaffinity(0)),
        memory=_memory(),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        shared_memory=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0,
        nvidia=Path("/proc/driver/nvidia/version").exists(),
        cuda=any(entry.name.startswith("jax-cuda") for entry in importlib.metadata.distributions()),
        variables={name: value for name, value in os.environ.items() if name.startswith(VARIABLES)},
    )


def look_at_disk(folder: Path) -> Disk:
    """The file system of a folder, in which a file is written, flushed and renamed."""
    usage = shutil.disk_usage(folder)
    seconds, trouble = 0.0, ""
    file = folder / f"try-{socket.gethostname()}-{os.getpid()}"
    try:
        began = time.perf_counter()
        write_atomically(file, b"first")
        write_atomically(file, b"second")
        seconds = (time.perf_counter() - began) / 2
        if file.read_bytes() != b"second":
            trouble = "a file that was renamed over another reads as the old one"
    except OSError as error:
        trouble = f"writing, flushing and renaming a file failed: {error}"
    file.unlink(missing_ok=True)
    kind = _kind(folder, Path("/proc/self/mounts").read_text(encoding="utf-8"))
    return Disk(kind=kind, free=usage.free, total=usage.total, sync_seconds=seconds, trouble=trouble)


def _kind(folder: Path, mounts: str) -> str:
    """The type of the file system that is mounted nearest above a folder."""
    points = [line.split()[1:3] for line in mounts.splitlines()]
    above = [(point.replace("\\040", " "), kind) for point, kind in points]
    path = folder.resolve()
    fitting = [(point, kind) for point, kind in above if path.is_relative_to(point)]
    return max(fitting, key=lambda entry: len(entry[0]), default=("", "unknown"))[1]


def _memory() -> int:
    """What there is, or what the control group of this process may have."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return min(whole, int(text)) if text.isdecimal() else whole
