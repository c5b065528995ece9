"""Starting a replica so that it outlives who started it, and finding those that nobody knows."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from serving.fleet.identity import PROC, Identity
from serving.fleet.replicas.cores import pinned
from serving.sources import flag

MARK = "PNOL_FLEET_REPLICA"  # in a replica's environment: its fleet's folder and its name
HOST = "127.0.0.1"


def command(settings: Mapping[str, Any], port: int, agent_port: int | None) -> list[str]:
    """That of a replica with these settings, as flags: what a person sees who looks at the processes."""
    given = {**settings, "host": HOST, "port": port, "agent_port": agent_port}
    words = [word for name, value in given.items() for word in (flag(name), written(value))]
    return [sys.executable, "-m", "serving", *words]


def written(value: Any) -> str:
    """A setting as `serving.sources` reads it."""
    return value if isinstance(value, str) else "none" if value is None else msgspec.json.encode(value).decode()


def spawn(
    name: str, words: Sequence[str], folder: Path, cores: Sequence[int], environment: Mapping[str, str]
) -> tuple[Identity, subprocess.Popen[bytes]]:
    """Start a process in a session of its own, on these cores, with its output in `FOLDER/NAME.log`.

    XLA makes as many threads as the process has cores when it starts.

    Raises:
        OSError: it cannot be started, as where the machine is out of processes or disk, or has ended already.
    """
    log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        with pinned(cores):
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment, MARK: mark(folder, name)},
                start_new_session=True,
            )
    finally:
        os.close(log)
    try:
        identity = Identity.of(process.pid)
    except OSError:
        process.kill()
        process.wait()
        raise
    if identity is None:
        raise ChildProcessError(f"it ended at once, with status {process.wait()}")
    return identity, process


def mark(folder: Path, name: str) -> str:
    """By which a replica is known to be of a fleet."""
    return f"{folder.resolve()}:{name}"


def strays(folder: Path, known: set[int]) -> Iterator[Identity]:
    """Replicas of this fleet that its book does not hold: their supervisor died between starting and noting them."""
    prefix = f"{MARK}={mark(folder, '')}".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in known:
            continue
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
            leads = os.getsid(int(entry.name)) == int(entry.name)  # a replica's own children do not
        except OSError:
            continue
        identity = Identity.of(int(entry.name))
        if leads and identity is not None and any(word.startswith(prefix) for word in words):
            yield identity


def end_strays(folder: Path, known: set[int]) -> int:
    """Ask them to end, and say how many there were."""
    return sum(identity.signal(signal.SIGTERM) for identity in strays(folder, known))
