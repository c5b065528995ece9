"""HAProxy's process: found, started apart from its parent, found again by the next one.

It is one process in the foreground and no master with workers: a master is there for reloads, which we never do, would
not start a worker again that died, and would be one process more to know.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from serving.fleet.balancer.runtime import Runtime, Unreachable
from serving.fleet.identity import Identity

CONFIG, LOG, RECORD = "haproxy.cfg", "haproxy.log", "haproxy.json"
LISTENER = 3  # the file under which HAProxy finds the socket it listens on
OLDEST = (2, 6)  # before it servers could not be added for good
PLACES = "/usr/sbin:/usr/local/sbin"  # beside PATH, which may lack them
PATIENCE = 20.0  # seconds for it to start, which takes it 20 ms where it gets a core


class Record(msgspec.Struct, frozen=True):
    """The HAProxy that runs from a folder, for whoever finds the folder."""

    identity: Identity
    host: str
    port: int
    config: str  # digest of the settings that it began with


def find_haproxy() -> str:
    """The program.

    Raises:
        InputError: it is not installed.
    """
    found = shutil.which("haproxy", path=os.environ.get("PATH", os.defpath) + ":" + PLACES)
    if found is None:
        raise InputError("haproxy: not installed, expected 2.6 or later (Debian: apt-get install haproxy)")
    return found


@contextlib.contextmanager
def written(file: Path, text: str) -> Iterator[Path]:
    """Where the config can be read: in its file, or in memory where a full disk does not take it."""
    with contextlib.ExitStack() as stack:
        try:
            write_atomically(file, text)
        except OSError:
            memory = stack.enter_context(os.fdopen(os.memfd_create(file.name), "w"))
            memory.write(text)
            memory.flush()
            file = Path(f"/proc/{os.getpid()}/fd/{memory.fileno()}")
        yield file


def launch(folder: Path, config: Path, listener: socket.socket, runtime: Runtime) -> Identity:
    """Start HAProxy with a config on a listening socket, and wait until it answers.

    Raises:
        InputError: it is not installed, too old, or refuses the config: what it said first.
        OSError: the machine is out of processes, memory or files.
    """
    program, log = find_haproxy(), folder / LOG
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    pid = os.posix_spawn(
        program,
        [program, "-db", "-f", str(config)],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, listener.fileno(), LISTENER),
        ],
        setsid=True,
    )
    try:
        identity = Identity.of(pid)
        end = time.monotonic() + PATIENCE
        while identity is not None and identity.alive() and time.monotonic() < end:
            if answers(runtime, identity):
                return _new_enough(runtime, identity)
            time.sleep(0.001)
        raise InputError(_reason(log))
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # a child that nobody has waited for: the number is its own
        os.waitpid(pid, 0)
        raise


def answers(runtime: Runtime, identity: Identity) -> bool:
    """Whether this very process answers on the socket."""
    try:
        return runtime.information().get("Pid") == str(identity.pid)
    except Unreachable:
        return False


def reap(pid: int) -> None:
    """Take notice of its end, if it is a child of this process."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def remember(folder: Path, record: Record) -> None:
    """Write down what runs from a folder; where the disk is full, over what stands there, which needs no room."""
    content = msgspec.json.encode(record)
    try:
        write_atomically(folder / RECORD, content)
    except OSError:
        with contextlib.suppress(OSError), (folder / RECORD).open("r+b") as file:
            file.write(content)
            file.truncate()


def recall(folder: Path) -> Record | None:
    """What runs from a folder; none if nothing was written down, or it has ended."""
    try:
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return record if record.identity.alive() else None


def _new_enough(runtime: Runtime, identity: Identity) -> Identity:
    version = runtime.information()["Version"]
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        raise InputError(f"haproxy: got version {version}, expected 2.6 or later")
    return identity


def _reason(log: Path) -> str:
    """The first alarm in what it said, in one line."""
    lines = [line.partition(" : ")[2] for line in log.read_text(errors="replace").splitlines() if "[ALERT]" in line]
    return f"haproxy: {lines[0] if lines else f'did not start, see {log}'}"
