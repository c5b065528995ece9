"""A side that lives in a process of its own: a peer in its own environment, or ours with its own start-up settings."""

import contextlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Child:
    """A process that speaks `benchmarks.peer_scripts.line_protocol`. Used as a context, whose end ends the process.

    `facts` is what it said of itself when it was ready.

    Raises:
        RuntimeError: it ended before it answered. What it had to say stands on standard error.
    """

    def __init__(self, command: Sequence[str | os.PathLike[str]], environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self._process.pid
        self.facts: dict[str, Any] = self._answer()

    def run(self, operation: str, steps: int) -> float:
        """Let it do `steps` steps of an operation and return the seconds that one took."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: there will be no answer either
            self._process.stdin.write(f"run {operation} {steps}\n")
        return float(self._answer()["seconds"])

    def side(self, name: str, operation: str) -> "ChildSide":
        """One of its operations, to be compared under a name."""
        return ChildSide(name, self, operation)

    def close(self) -> None:
        """End it: its input ends, and it has nothing more to do."""
        with self._process:
            pass

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with status {self._process.wait()} before it answered")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class ChildSide:
    """An operation of a child process."""

    name: str
    child: Child
    operation: str

    @property
    def pid(self) -> int:
        """The child's process."""
        return self.child.pid

    def run(self, steps: int) -> float:
        """Do `steps` steps and return the seconds that one took."""
        return self.child.run(self.operation, steps)
