"""The thread by which a process hangs on the one that started it: its standard input.

The supervisor keeps the other end of the pipe. A line is the number of a signal, which the process sends to itself:
that works the same through ssh and srun, which hand signals on each in their own way or not at all. The end of
the input means that the supervisor is gone, however it went; the process and what it started then end at once.
"""

import contextlib
import os
import signal
import threading

VARIABLE = "PNOL_LIFELINE"
_NAME = "lifeline"


def hold() -> None:
    """Begin to watch standard input, in a thread of its own, unless it is watched already."""
    if all(thread.name != _NAME for thread in threading.enumerate()):
        threading.Thread(target=_watch, name=_NAME, daemon=True).start()


def _watch() -> None:
    # By os.read: a thread that waits inside sys.stdin holds its lock, and the interpreter aborts at exit.
    said = b""
    while read := os.read(0, 64):
        *lines, said = (said + read).split(b"\n")
        for line in lines:
            if line.isdigit():
                os.kill(os.getpid(), int(line))
    with contextlib.suppress(OSError):  # what was said went through the same connection
        os.write(2, b"the supervisor of this process is gone; ending\n")
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
