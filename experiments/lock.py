"""One run works in a folder at a time: a lock that the kernel lets go when its holder ends, however that ends.

It is `flock` on FOLDER/lock, in which the holder says who it is. NFS hands such locks on to its server; a file system
without them (Lustre mounted without `flock`) is worked on without, and that is said.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pnol_jax.errors import InputError

FILE = "lock"
LOOK_SECONDS = 0.2


@contextlib.contextmanager
def held(folder: Path, seconds: float = 0.0) -> Iterator[None]:
    """Hold the folder, which is made if it is not there, and goes again if nothing was put into it.

    Args:
        folder: of a run.
        seconds: how long to wait for a holder that may be about to end.

    Raises:
        InputError: another process holds it; the message says which.
    """
    descriptor = _taken(folder, time.monotonic() + seconds)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if [path.name for path in folder.iterdir()] == [FILE]:  # of a run that was refused
                (folder / FILE).unlink()
                folder.rmdir()
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Delete what is in a folder, but not the lock on it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != FILE:
            path.unlink()


def _taken(folder: Path, until: float) -> int:
    """The open file of the lock, which is held."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # whoever held it before takes it away
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o644)
            taken = False
            try:
                _take(descriptor, folder, until)
                taken = os.path.samestat(os.fstat(descriptor), os.stat(folder / FILE))
                if taken:
                    return descriptor
            finally:
                if not taken:
                    os.close(descriptor)


def _take(descriptor: int, folder: Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise InputError(f"{folder}: in use by {_holder(descriptor)}, expected one run at a time") from None
            time.sleep(LOOK_SECONDS)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            print(f"{folder}: not locked: {error.strerror}; see that no other run works in it", file=sys.stderr)
            return
    me = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    with contextlib.suppress(OSError):  # who holds it is said where the disk has room for it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        who = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
