"""What a fleet leaves on the disk: its book, and logs that are kept small; it goes on where the disk is full."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from serving.fleet.config import FleetConfig
from serving.fleet.replicas.book import Book, write_book
from serving.fleet.replicas.logs import forget, rotate
from serving.fleet.supervisor.decisions import Decisions, Later

INTERVAL = 5.0  # seconds between looks
PAUSE = 1.0  # seconds before a book that could not be written is tried again
LOGS = 16  # of replicas that are gone, which are kept
log = logging.getLogger("serving.fleet")


class Disk:
    """Looks from the event loop, reads and writes by `later`."""

    def __init__(self, folder: Path, config: FleetConfig, decisions: Decisions, later: Later) -> None:
        self.full = False
        self._folder, self._config, self._decisions, self._later = folder, config, decisions, later
        self._looked = self._again = float("-inf")
        self._kept: Book | None = None

    def keep(self, book: Book) -> None:
        """Write the book where it says something else than the one on the disk; what fails is tried again."""
        if book != self._kept and time.monotonic() >= self._again:
            self._kept = book
            self._later(lambda: self._write(book))

    def tend(self, now: float, names: set[str]) -> None:
        """Keep the logs of the replicas of these names small, those of others few."""
        if now - self._looked >= INTERVAL:
            self._looked = now
            self._later(lambda: self._try(lambda: self._look(names)))

    def _write(self, book: Book) -> None:
        if not self._try(lambda: write_book(self._folder, book)):
            self._kept, self._again = None, time.monotonic() + PAUSE

    def _try(self, act: Callable[[], object]) -> bool:
        """Do something that may fail for want of room."""
        try:
            act()
        except OSError as error:
            log.error("%s: %s", self._folder, error)
            return False
        return True

    def _look(self, names: set[str]) -> None:
        config, full = self._config.replicas, self._free() < self._config.healing.disk_bytes
        if full != self.full:
            self.full = full
            self._decisions.note("disk full" if full else "disk has room", f"{self._free()} bytes are free")
        files = [file for file in self._folder.glob("r*.log") if file.stem not in names]
        for file in sorted(files, key=lambda file: file.stat().st_mtime)[: None if full else -LOGS]:
            forget(file, config.log_files)
            file.unlink(missing_ok=True)
        for name in names:
            if full:
                forget(self._folder / f"{name}.log", config.log_files)
            rotate(self._folder / f"{name}.log", config.log_bytes, config.log_files)

    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free
