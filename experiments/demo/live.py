"""What is seen in the terminal while the features run."""

import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.table import Table

from experiments.demo.shown import Shown


class Live:
    """A rule for each feature, a line with what it is at, and its figures at the end."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._status = self._console.status("", spinner="dots")
        self._words = self._waits = ""  # of what was printed last, and what has the same words but other numbers

    def begin(self, title: str) -> Callable[[str], None]:
        """Show that a feature begins; what is returned shows what it is at."""
        self._console.rule(title, align="left")
        self._status.start()
        self._words = ""

        def say(text: str) -> None:
            self._status.update(text)
            if self._console.is_terminal:
                return
            words = re.sub(r"\d[\d.e+-]*|s\b", "", text)  # "1 truth" and "2 truths" are of one kind
            if words == self._words:  # numbers that count up are for who looks on: the first is printed, and the last
                self._waits = text
                return
            self._last()
            self._words = words
            self._console.print(f"  {text}", markup=False)

        return say

    def _last(self) -> None:
        """Print what a count came to."""
        if self._waits:
            self._console.print(f"  {self._waits}", markup=False)
        self._waits = ""

    def end(self, shown: Shown) -> None:
        """Show what came of it."""
        self._status.stop()
        self._last()
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for figure in shown.figures:
            table.add_row(figure.name, f"[bold]{figure.value}[/]", f"[dim]{figure.more}[/]")
        self._console.print(shown.verdict, markup=False)
        self._console.print(table)
        self._console.print(f"[dim]{shown.seconds:.0f} s[/]\n")

    def close(self, page: Path) -> None:
        """Name the page."""
        self._console.print(f"page: {page.absolute().as_uri()}", soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self._status.stop()
