"""Servers of the serving benchmarks, ours and peers', each in processes of its own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.child import ROOT
from benchmarks.peers import KEEP_MEMORY, python_of

TRITON = ("triton", "tritonserver")  # by PyTriton, and with its Python backend alone
SCRIPTS = ROOT / "benchmarks" / "peer_scripts"


@contextlib.contextmanager
def running(
    command: Sequence[str | os.PathLike[str]], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server's process id from when it says "ready", until its input ends or it is told to terminate.

    Raises:
        RuntimeError: it ended before it was ready; what it said is in the log.
    """
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if not any(line.startswith("ready") for line in process.stdout):
                raise RuntimeError(f"{command} ended before it was ready; see {log}")
            yield process.pid
        finally:
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.stdin.close()
            process.terminate()
            process.wait(60)
            for child in family:  # some servers leave theirs behind
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()


def ours(models: Path, port: int, *flags: str) -> list[str]:
    """The command of our service."""
    return [sys.executable, "-m", "serving", "--models", str(models), "--port", str(port), *flags]


def peer(name: str, program: Path, model: str, port: int, *flags: str) -> list[str | os.PathLike[str]]:
    """The command of a peer that serves a program (`served_hlo`): triton, litserve or fastapi."""
    environment = "triton" if name in TRITON else "litserve"
    return [python_of(environment), SCRIPTS / f"{name}_serve.py", program, model, str(port), *flags]


ENVIRONMENT = KEEP_MEMORY  # of peers: what ours tells malloc itself
