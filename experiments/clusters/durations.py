"""Durations: 30s, 90m, 4h, 2d, 1:30:00 or 2-00:00:00, in seconds and as SLURM writes them."""

import re

from pnol_jax.errors import InputError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(duration: str) -> int:
    """The seconds of a duration.

    Raises:
        InputError: it has another form; a bare number is one, as clusters differ in what they take it for.
    """
    if short := re.fullmatch(r"(\d+)([smhd])", duration):
        return int(short[1]) * UNITS[short[2]]
    if long := re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", duration):
        days, hours, minutes, rest = (int(part or 0) for part in long.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + rest
    raise InputError(f"time: got {duration!r}, expected 30s, 90m, 4h, 2d or [days-]hours:minutes:seconds")


def clock(duration: str) -> str:
    """The duration as days-hours:minutes:seconds."""
    minutes, rest = divmod(seconds(duration), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}-{hours:02}:{minutes:02}:{rest:02}"
