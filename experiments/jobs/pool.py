"""A pool: tasks are submitted by name and come back as they are done, failed ones with their error.

`Here` runs them in this process, one after the other; `cluster.py` has the pools with workers of their own.
"""

import heapq
import itertools
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SHOWN = 10  # names of failed tasks in the summary
EVERY = 60  # seconds between lines that say how far it is


@dataclass(frozen=True)
class Task:
    """A call to be made. Of several that wait the one of the highest priority is first, then the one submitted first.

    A task that raises is tried `retries` more times. One whose worker dies is tried again in any case.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    priority: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a task: the value that it returned, or the error that it raised."""

    name: str
    value: Any = None
    error: BaseException | None = None


class Pool(ABC):
    """Submits tasks and hands out their outcomes, with a progress bar. To be used as `open_pool` hands it out."""

    def __init__(self, title: str) -> None:
        self.failed: list[Outcome] = []
        self._waiting: set[str] = set()
        self._done = 0
        self._title = title
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        times = (TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self._bar = Progress(*columns, *times, console=Console(stderr=True), transient=True)
        self._line = self._bar.add_task(title, total=0, figures="")

    def submit(
        self, function: Callable[..., Any], *arguments: Any, name: str, priority: int = 0, retries: int = 0
    ) -> None:
        """Hand over a task; also possible while outcomes are being read. Function and arguments must be picklable.

        Raises:
            ValueError: a task of that name is waiting or running.
        """
        if name in self._waiting:
            raise ValueError(f"task {name!r}: there is one of that name, expected names that differ")
        self._waiting.add(name)
        self._start(Task(name, function, arguments, priority, retries))
        self._show()

    def completed(self) -> Iterator[Outcome]:
        """Outcomes in the order in which they come, until no task is left."""
        while self._waiting:
            outcome = self._next()
            self._waiting.remove(outcome.name)
            self._done += 1
            if outcome.error is not None:
                self._note(outcome)
            self._show()
            yield outcome

    def map(
        self, function: Callable[..., Any], items: Mapping[str, Any], *, priority: int = 0, retries: int = 0
    ) -> Iterator[Outcome]:
        """Call a function on each item, by the names of the tasks; outcomes as by `completed`."""
        for name, item in items.items():
            self.submit(function, item, name=name, priority=priority, retries=retries)
        return self.completed()

    def say(self, line: str) -> None:
        """Print a line above the progress bar."""
        self._bar.console.print(escape(line), highlight=False, soft_wrap=True)

    def report(self) -> None:
        """Print which tasks have failed."""
        if self.failed:
            names = [outcome.name for outcome in self.failed]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            total = self._done + len(self._waiting)
            self.say(f"{len(names)} of {total} tasks failed: {', '.join(names[:SHOWN])}{more}")

    @abstractmethod
    def _start(self, task: Task) -> None: ...

    @abstractmethod
    def _next(self) -> Outcome: ...

    def _workers(self) -> int:
        """How many workers there are now."""
        return 1

    def _note(self, outcome: Outcome) -> None:
        self.failed.append(outcome)
        self.say(f"{outcome.name}: {type(outcome.error).__name__}: {outcome.error}")

    def _show(self) -> None:
        workers = self._workers()
        figures = f"{len(self.failed)} failed  {workers} worker{'' if workers == 1 else 's'}"
        self._bar.update(self._line, total=self._done + len(self._waiting), completed=self._done, figures=figures)

    def _tell(self) -> None:
        total = self._done + len(self._waiting)
        self.say(f"{self._title}: {self._done} of {total} done, {len(self.failed)} failed")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar meanwhile and, unless an error ends it, what has failed."""
        with self._bar, each_minute(self._bar.console, self._tell):
            yield
        self.report()


class Here(Pool):
    """Runs each task in this process when its outcome is asked for."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._queue: list[tuple[int, int, Task]] = []
        self._count = itertools.count()

    def _start(self, task: Task) -> None:
        heapq.heappush(self._queue, (-task.priority, next(self._count), task))

    def _next(self) -> Outcome:
        _, _, task = heapq.heappop(self._queue)
        for tries_left in range(task.retries, -1, -1):
            try:
                return Outcome(task.name, task.function(*task.arguments))
            except Exception as error:
                if not tries_left:
                    return Outcome(task.name, error=error)
        raise AssertionError("retries are 0 or more")


@contextmanager
def each_minute(console: Console, tell: Callable[[], None]) -> Iterator[None]:
    """Call a function once a minute meanwhile, where the console is no terminal and shows no bar."""
    ended = threading.Event()

    def wait() -> None:
        while not ended.wait(EVERY):
            tell()

    if not console.is_terminal:
        threading.Thread(target=wait, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, by a KeyboardInterrupt, so that all is closed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
