"""A worker: a process that runs here or a client (ssh, srun, mpirun) of processes that run elsewhere.

Its standard input is its lifeline: it ends when the supervisor does (`pnol_jax.sharding.lifeline`).
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.supervision.machine import WRONG_INPUT
from pnol_jax.errors import InputError
from pnol_jax.sharding import lifeline
from pnol_jax.sharding.processes import LAST_WORD

Environment = Mapping[str, str]


class Worker:
    """A process on this machine in a group of its own; what it says is appended to `log`, after which it is named."""

    def __init__(self, command: Sequence[str], environment: Environment, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.name = log.stem.replace("-", " ")
        with log.open("ab") as output:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment},
                    process_group=0,
                )
            except FileNotFoundError:
                raise InputError(
                    f"no program {command[0]!r} on this machine, expected it for starting a worker"
                ) from None
        self.pid = self._process.pid

    def status(self) -> int | None:
        """Its exit status, -N if signal N ended it; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process; SIGKILL goes to all that it started too."""
        if self._process.poll() is None:
            if number == signal.SIGKILL:
                self._to_group(number)
            else:
                self._process.send_signal(number)

    def close(self) -> None:
        """End what is still there."""
        self.send(signal.SIGKILL)
        self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _to_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class Client(Worker):
    """ssh, srun or mpirun: signals go down the lifeline to the processes themselves.

    mpirun hands its input to rank 0 alone, which is enough for a wish to stop: training stops together. But it hands
    SIGUSR2 on to all of them, so `forwarded` signals are left to the client.

    srun and mpirun end all when one has ended, and their status is then that of any. So a process that ends by an error
    leaves its status in the folder `words`, and a wrong input there is what counts.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        forwarded: frozenset[signal.Signals] = frozenset(),
        words: Path | None = None,
    ) -> None:
        self._words = words
        for word in self._last_words():
            word.unlink(missing_ok=True)
        super().__init__(command, {}, log)
        self._forwarded = forwarded
        self._killed = False

    def status(self) -> int | None:
        """The client's exit status; that of a wrong input if one of its processes found one."""
        status = super().status()
        refused = status and any(word.read_text() == str(WRONG_INPUT) for word in self._last_words())
        return WRONG_INPUT if refused else status

    def _last_words(self) -> list[Path]:
        return list(self._words.glob(f"{LAST_WORD}*")) if self._words else []

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the processes; SIGKILL lets the lifeline go, and the second one ends the client."""
        if number == signal.SIGKILL:
            self._let_go()
            self._to_group(signal.SIGKILL if self._killed else signal.SIGTERM)
            self._killed = True
        elif number in self._forwarded:
            super().send(number)
        elif self._process.poll() is None:
            self._say(number)

    def close(self) -> None:
        """End what is still there."""
        self.send(signal.SIGKILL)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            super().close()

    def _say(self, number: signal.Signals) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{int(number)}\n".encode())
            self._process.stdin.flush()


def module(name: str, *words: str) -> list[str]:
    """The command that runs a module with this interpreter; its output is not held back."""
    return [sys.executable, "-u", "-m", name, *words]


def with_environment(command: Sequence[str], environment: Environment) -> list[str]:
    """The command with its variables set by `env`, for clients that carry no environment over."""
    return ["/usr/bin/env", *(f"{name}={value}" for name, value in environment.items()), *command]


LIFELINE = {lifeline.VARIABLE: "1"}
