"""The limits of the container that the process is in, by control groups (version 2, or 1), else of the machine.

A group's limit is that of the narrowest among it and those above it.

Sources: Linux kernel documentation, "Control Group v2" (cpu.max, memory.max, memory.current), "CPUs and memory" of v1.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
UNLIMITED = 2**60  # version 1 writes a number as large where there is no limit


@dataclass(frozen=True)
class Limits:
    """Which files tell it: those of the own group and those above it. `memory`: limit and use, of version 2 or 1."""

    groups: tuple[Path, ...] = ()
    cpu_groups: tuple[Path, ...] = ()
    memory: tuple[str, str] = ("memory.max", "memory.current")

    def figures(self) -> Mapping[str, tuple[str, float | None]]:
        """Name, text and value of each; None if it cannot be known."""
        return {
            "cpu_cores": ("Cores of the machine, or of the container's quota if that is less.", self.cores()),
            "memory_limit_bytes": ("Memory that may be used: the container's limit, else the machine's.", self.limit()),
            "memory_used_bytes": ("Memory that the container uses, caches of files included.", self.used()),
        }

    def cores(self) -> float | None:
        """The cores of the machine, or the CPU seconds a second of the container's quota if those are fewer."""
        quotas = [quota for group in self.cpu_groups if (quota := _quota(group)) is not None]
        cores = os.cpu_count()
        return min([*quotas, *([] if cores is None else [float(cores)])], default=None)

    def limit(self) -> float | None:
        """Bytes."""
        limits = [number for group in self.groups if (number := _number(group / self.memory[0])) is not None]
        return min([*(n for n in limits if n < UNLIMITED), *_machine_memory()], default=None)

    def used(self) -> float | None:
        """Bytes of the own group; not known outside one."""
        return _number(self.groups[0] / self.memory[1]) if self.groups else None


def read_limits(root: Path = ROOT, own: Path = OWN) -> Limits:
    """The groups of this process."""
    paths: dict[str, str] = {}
    for line in _text(own).splitlines():
        number, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys([""] if number == "0" else controllers.split(","), path)
    if "memory" in paths and (root / "memory").is_dir():
        memory = tuple(_upwards(root / "memory", paths["memory"]))
        return Limits(memory, tuple(_upwards(root / "cpu", paths.get("cpu", "/"))), MEMORY_V1)
    if "" not in paths:
        return Limits()
    groups = tuple(_upwards(root, paths[""]))
    return Limits(groups, groups)


MEMORY_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes"


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group and those above it, as far as they are shown: inside a container the own group often is the root."""
    group = root / path.lstrip("/")
    if not group.is_dir():
        group = root
    while group != root:
        yield group
        group = group.parent
    yield root


def _quota(group: Path) -> float | None:
    """Cores, of version 2 or 1."""
    words = _text(group / "cpu.max").split() or [
        *_text(group / "cpu.cfs_quota_us").split(),
        *_text(group / "cpu.cfs_period_us").split(),
    ]
    if len(words) != 2 or words[0] in ("max", "-1"):
        return None
    return int(words[0]) / int(words[1])


def _number(file: Path) -> float | None:
    text = _text(file).strip()
    return float(text) if text.isdigit() else None


def _machine_memory() -> list[float]:
    try:
        return [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    except (ValueError, OSError):
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
