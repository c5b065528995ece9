"""The small record of a detached job: `submit/ID/board.json`, kept by its supervisor, read by everybody."""

from pathlib import Path

import msgspec

from experiments.clusters.interface import Job, State
from experiments.clusters.processes import ProcessId
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically


class Task(msgspec.Struct, kw_only=True):
    """How one task stands."""

    state: State = "waiting"
    exit: int | None = None  # 128 + n: ended by signal n
    restarts: int = 0
    process: ProcessId | None = None  # while it runs
    detail: str = ""


class Board(msgspec.Struct, kw_only=True):
    """A detached job: who looks after it, and how each task stands."""

    supervisor: ProcessId
    tasks: dict[str, Task]

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_atomically(folder / "board.json", msgspec.json.encode(self))


def read(folder: Path) -> Board:
    """The board of the job in a folder."""
    try:
        return msgspec.json.decode((folder / "board.json").read_bytes(), type=Board)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{folder}: no readable record of a job: {error}") from None


def read_job(folder: Path) -> Job:
    """The job itself, as it was handed in."""
    return msgspec.json.decode((folder / "job.json").read_bytes(), type=Job)
