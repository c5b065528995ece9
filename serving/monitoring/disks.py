"""Room on the disk where compiled programs are kept, the only thing that the service itself writes."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from serving.monitoring.exposition import Gauge


class Disk(Collector):
    """Of the folder of executables; nothing where none is kept, or the folder could not be had."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).expanduser() if folder else None

    def collect(self) -> Iterator[Metric]:
        """Bytes in all, and those that a user may still fill."""
        if self._folder is None:
            return
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return
        yield Gauge(
            "pnol_disk_bytes", "Size of the disk for compiled programs.", "max", found.f_blocks * found.f_frsize
        )
        yield Gauge("pnol_disk_free_bytes", "Free on it.", "min", found.f_bavail * found.f_frsize)
