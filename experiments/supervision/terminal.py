"""What a person sees of a job: what happens to it, what process 0 says, and where it stands."""

from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text

from experiments.supervision.machine import Note
from experiments.supervision.watch import Heard

TAIL = 5  # lines of a lost process' log that are shown
NOISE = "[Gloo] "  # what collectives between CPUs say of their connections
_READ = 64 * 1024


class Terminal:
    """Lines of a log as they come, over a status line where there is a terminal."""

    def __init__(self, folder: Path) -> None:
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        self._status = self._console.status("starting")
        self._path: Path | None = None
        self._read = {log: log.stat().st_size for log in folder.glob("logs/*.log")}

    def follow(self, log: Path) -> None:
        """Show what is added to a log since this began."""
        self._path = log

    def note(self, note: Note) -> None:
        """Say what happened."""
        parts = [
            note.event,
            note.why,
            f"step {note.step}" if note.step is not None else "",
            f"next try in {note.delay:g} s" if note.delay is not None else "",
        ]
        self._console.print(Text("launch: " + ", ".join(part for part in parts if part), style="bold"))

    def lost(self, log: Path) -> None:
        """Show what a lost process said last, if it is not on the terminal already."""
        if log != self._path and log.exists():
            for line in _tail(log):
                self._console.print(Text(f"  {log.name}: {line}"))

    def show(self, heard: Heard) -> None:
        """Print the log's new lines and move the status line."""
        self._print_new()
        step = "starting" if heard.step is None else f"step {heard.step}"
        self._status.update(f"{step}  {len(heard.beats)} processes  last report {heard.silent:.0f} s ago")

    def _print_new(self) -> None:
        if self._path is None or not self._path.exists():
            return
        start = self._read.get(self._path, 0)
        with self._path.open("rb") as file:
            file.seek(start)
            read = file.read(_READ)
        whole = read if len(read) == _READ else read[: read.rfind(b"\n") + 1]
        self._read[self._path] = start + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if not line.startswith(NOISE):
                self._console.print(Text.from_ansi(line))

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._print_new()
        self._status.stop()


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return file.read().decode(errors="replace").splitlines()[-TAIL:]
