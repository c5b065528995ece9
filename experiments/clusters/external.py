"""Calling the programs of a cluster: each with a time limit, each failure one clear line."""

import subprocess
from collections.abc import Mapping

from pnol_jax.errors import InputError

PATIENCE = 60.0  # seconds; a busy controller answers within a few


def call(*words: str, seconds: float = PATIENCE, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed.

    Raises:
        InputError: it is not installed, did not answer in time, or refused; in its own words.
    """
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=seconds, env=environment, check=False
        )
    except FileNotFoundError:
        raise InputError(f"{words[0]}: no such program here; expected it on PATH, as on the cluster's nodes") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{' '.join(words[:2])}: no answer within {seconds:g} s") from None
    if done.returncode:
        raise InputError(f"{words[0]}: {_reason(done.stderr or done.stdout) or f'exit status {done.returncode}'}")
    return done.stdout


def _reason(text: str) -> str:
    """What a program complained of, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[:4])
