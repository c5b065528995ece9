"""Lines for whoever started the process."""

import contextlib
import os

OUTPUT, ERRORS = 1, 2


def say(line: str, to: int = OUTPUT) -> None:
    """Write a line at once; where none can be written, as on a full disk, it is lost and nothing else is.

    Past the buffer of `sys.stdout`, which would try again when the process ends, and fail it.
    """
    with contextlib.suppress(OSError):
        os.write(to, f"{line}\n".encode())
