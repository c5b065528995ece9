"""Compiled programs kept on the disk between starts, in a folder that is the user's alone.

What lies there is machine code that the process will run, so nobody else may write it: the folder has mode 0700 and is
the user's own, or it is not used. JAX keys each program by itself, the device and its own version, and not by what the
processor can do: machines that share a home have folders of their own within.
"""

import contextlib
import hashlib
import logging
import os
import platform
import stat
from pathlib import Path

import jax

from pnol_jax.errors import InputError

log = logging.getLogger("serving")


def _processor() -> str:
    """What tells processors apart that cannot run each other's programs."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    abilities = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(abilities.encode()).hexdigest()[:12]}"


def keep_executables(folder: str) -> None:
    """Read programs that were compiled before, and keep those that are compiled from here on; "" keeps none.

    A folder that cannot be had, as where the disk is read only, costs time at every start and nothing else.

    Raises:
        InputError: the folder is not the user's alone.
    """
    if not folder:
        return
    try:
        path = Path(folder).expanduser()
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = path.lstat()
    except (OSError, RuntimeError) as error:  # the second where there is no home
        log.warning("executables: %s; programs are compiled at every start", error)
        return
    mode = stat.S_IMODE(about.st_mode)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or mode & 0o077:
        raise InputError(
            f"executables: got {path} of user {about.st_uid} with mode {mode:o}, expected a folder of user "
            f"{os.getuid()} with mode 700: what lies there is run"
        )
    jax.config.update("jax_compilation_cache_dir", str(path / _processor()))  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)  # type: ignore[no-untyped-call]
