"""What one process of the doctor found; it goes through a file, for the processes may be on several hosts."""

from pathlib import Path
from typing import Any

import msgspec

from pnol_jax.files import write_atomically


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A host, as a process on it sees it; sizes in bytes."""

    host: str
    system: str
    cores: int
    memory: int
    open_files: int  # how many a process may have
    shared_memory: int  # of /dev/shm
    nvidia: bool  # whether the driver is there
    cuda: bool  # whether JAX's plugin for it is installed
    variables: dict[str, str]  # of the environment, those that matter


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The file system of the run's folder; sizes in bytes."""

    kind: str
    free: int
    total: int
    sync_seconds: float = 0.0  # to write a small file for good
    trouble: str = ""  # what a file could not be made to do


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device of a process; its memory in bytes, 0 where JAX does not tell."""

    kind: str
    platform: str
    memory: int = 0


class Reduction(msgspec.Struct, frozen=True, kw_only=True):
    """An all-reduce of so many bytes on every one of so many devices."""

    devices: int
    size: int
    seconds: float

    @property
    def rate(self) -> float:
        """Bytes a second over each device's link, as a ring moves them: 2 (n - 1) / n of the size."""
        return 2 * (self.devices - 1) / self.devices * self.size / self.seconds


class Saving(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint of so many bytes, written and read."""

    size: int
    write_seconds: float
    read_seconds: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a process found; what it did not come to is None."""

    index: int
    count: int
    found: str  # how it learned which process it is
    machine: Machine
    disk: Disk
    facts: dict[str, str]  # code and versions
    clock: float | None = None  # seconds since 1970, at the same moment in all processes
    sees: list[int] | None = None  # the processes whose files it finds in the folder
    devices: list[Device] | None = None
    within: Reduction | None = None  # over this process' devices
    across: Reduction | None = None  # over all devices
    saving: Saving | None = None
    error: str = ""


def write_report(folder: Path, report: Report) -> None:
    """Leave it in the folder."""
    write_atomically(folder / f"report-{report.index}.json", msgspec.json.encode(report))


def read_reports(folder: Path) -> list[Report]:
    """Those that were left, in the order of the processes."""
    files: list[Any] = [msgspec.json.decode(path.read_bytes(), type=Report) for path in folder.glob("report-*.json")]
    return sorted(files, key=lambda report: report.index)


def in_words(size: float) -> str:
    """A number of bytes."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
