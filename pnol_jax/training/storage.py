"""Faults of the disk, as they come through Orbax and TensorStore."""

import logging
import os
import re
import sys


class SaveFailed(OSError):
    """A checkpoint could not be written; the message says of which step, why, and which is the last whole one."""


def reason(error: OSError | ValueError) -> str | None:
    """Why a file could not be written, None if it is something else; TensorStore raises its own kind."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code[1])) if code else None


def quiet() -> None:
    """From here on, what Orbax and TensorStore print of errors goes unsaid: they raise them too, and once."""
    logging.getLogger("absl").addFilter(lambda record: record.levelno < logging.ERROR or "orbax" not in record.pathname)
    before = sys.unraisablehook

    def say(unraised: "sys.UnraisableHookArgs") -> None:
        if str(unraised.exc_value) != "Event loop is closed":  # to which writes that failed later belonged
            before(unraised)

    sys.unraisablehook = say
