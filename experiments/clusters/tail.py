"""Reading a log that somebody else may still be writing."""

import codecs
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from experiments.clusters.interface import Status, Submitted
from pnol_jax.errors import InputError

PAUSE = 0.5  # seconds between two looks at the file
ASK = 5.0  # seconds between two questions to the cluster, which others ask too
PIECE = 1 << 16  # bytes


def read(path: Path, ended: Callable[[], bool] | None) -> Iterator[str]:
    """The text of a log; with `ended`, also what is still written to it until that is true.

    Raises:
        InputError: there is no log, and none is waited for.
    """
    if ended is None and not path.is_file():
        raise InputError(f"{path}: no log yet: the job has not begun")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    position, next_question = 0, 0.0
    while True:
        last = ended is None
        if ended is not None and time.monotonic() >= next_question:
            last = ended()  # asked before reading, so that nothing written before the end is missed
            next_question = time.monotonic() + ASK
        position += yield from _from(path, position, decoder)
        if last:
            return
        time.sleep(PAUSE)


def ended(status: Callable[[Submitted], list[Status]], submitted: Submitted, task: str) -> Callable[[], bool]:
    """Whether a task has ended, asked of its cluster."""
    return lambda: all(each.final for each in status(submitted) if each.id == task)


def _from(path: Path, position: int, decoder: codecs.IncrementalDecoder) -> Generator[str, None, int]:
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(position)
        while piece := file.read(PIECE):
            yield decoder.decode(piece)
        return file.tell() - position
