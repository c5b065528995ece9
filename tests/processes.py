"""Programs that a test starts: with a log of their own, ended by their process id, waited for with patience."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

SECONDS = 180.0  # after which something hangs, on a machine with much else to do too


@contextlib.contextmanager
def running(
    folder: Path, name: str, *words: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is ended by its id."""
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder, env=env)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process, by force where it does not in time."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def call(*words: str, stdin: str | None = None) -> str:
    """What a program prints.

    Raises:
        AssertionError: it fails.
    """
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def until(
    happened: Callable[[], Any],
    what: str | Callable[[], object] = "it did not happen",
    *suppressed: type[Exception],
    pause: float = 0.05,
    seconds: float = 30.0,
) -> Any:
    """Wait for something that is true, and give it; exceptions of these types are as if it were not.

    Raises:
        AssertionError: it did not come in time, with `what`.
    """
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(*suppressed):
            if found := happened():
                return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(pause)
