"""What a fleet leaves on the disk: its book, and logs that are kept small; it goes on where the disk is full."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from serving.fleet.config import FleetConfig
from serving.fleet.replicas.logs import forget, rotate
from serving.fleet.supervisor.decisions import Decisions, Later

INTERVAL = 5.0  # seconds between looks
LOGS = 16  # of replicas that are gone, which are kept


class Disk:
    """Looks from the event loop, reads and writes by `later`."""

    def __init__(self, folder: Path, config: FleetConfig, decisions: Decisions, later: Later) -> None:
        self.full = False
        self._folder, self._config, self._decisions, self._later = folder, config, decisions, later
        self._looked = float("-inf")

    def write(self, act: Callable[[], object]) -> None:
        """Do something that may fail for want of room."""
        try:
            act()
        except OSError as error:
            logging.getLogger("serving.fleet").error("%s: %s", self._folder, error)

    def tend(self, now: float, names: set[str]) -> None:
        """Keep the logs of the replicas of these names small, those of others few."""
        if now - self._looked >= INTERVAL:
            self._looked = now
            self._later(lambda: self.write(lambda: self._look(names)))

    def _look(self, names: set[str]) -> None:
        config = self._config.replicas
        for name in names:
            rotate(self._folder / f"{name}.log", config.log_bytes, config.log_files)
        logs = [log for log in self._folder.glob("r*.log") if log.stem not in names]
        full = self._low()
        for log in sorted(logs, key=lambda log: log.stat().st_mtime)[: None if full else -LOGS]:
            forget(log, config.log_files)
            log.unlink(missing_ok=True)
        if full:
            for name in names:
                forget(self._folder / f"{name}.log", config.log_files)
        if full != self.full:
            self.full = full
            self._decisions.note("disk full" if full else "disk has room", f"{self._free()} bytes are free")

    def _low(self) -> bool:
        return self._free() < self._config.healing.disk_bytes

    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free
