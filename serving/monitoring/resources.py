"""What this process takes of the machine, and what it may take: a figure that cannot be known is left out."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.monitoring.cgroup import Limits, read_limits
from serving.monitoring.exposition import Gauge
from serving.monitoring.gpus import Gpus

PROC = Path("/proc/self")


class Resources(Collector):
    """Of this process, of its container or machine, and of the graphics cards."""

    def __init__(self, proc: Path = PROC, limits: Limits | None = None, gpus: Gpus | None = None) -> None:
        self._proc = proc
        self._limits = read_limits() if limits is None else limits
        self._gpus = gpus or Gpus()

    def collect(self) -> Iterator[Metric]:
        """Whatever can be known now."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily("process_cpu_seconds", "CPU time, user and system.", used.ru_utime + used.ru_stime)
        found: dict[str, tuple[str, float | None]] = {
            "process_resident_memory_bytes": ("Memory in RAM.", self._resident()),
            "process_open_fds": ("Open files and sockets.", self._open_files()),
            "process_threads": ("Threads.", self._threads()),
        }
        for name, (text, value) in found.items():
            if value is not None:
                yield Gauge(name, text, "each", value)
        for name, (text, limit) in self._limits.figures().items():
            if limit is not None:
                yield Gauge(f"pnol_machine_{name}", text, "max", limit)
        yield from self._gpus.collect()

    def _resident(self) -> int | None:
        fields = _read(self._proc / "statm").split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") if len(fields) > 1 else None

    def _open_files(self) -> int | None:
        try:
            return len(os.listdir(self._proc / "fd")) - 1  # the one that lists them
        except OSError:
            return None

    def _threads(self) -> int | None:
        lines = dict(line.split(":", 1) for line in _read(self._proc / "status").splitlines() if ":" in line)
        return int(lines["Threads"]) if "Threads" in lines else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
