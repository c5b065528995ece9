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

    def begin(self, title: str) -> Callable[[str], None]:
        """Show that a feature begins; what is returned shows what it is at."""
        self._console.rule(title, align="left")
        self._status.start()

        said = ""

        def say(text: str) -> None:
            nonlocal said
            self._status.update(text)
            words = re.sub(r"[\d.]+", "", text)
            if not self._console.is_terminal and words != said:  # numbers that count up are for who looks on
                self._console.print(f"  {text}", markup=False)
            said = words

        return say

    def end(self, shown: Shown) -> None:
        """Show what came of it."""
        self._status.stop()
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
