"""How every command ends: a wrong input is one line and exit status 2, Ctrl-C one line and 130."""

import io
import sys
from collections.abc import Callable, Sequence

from pnol_jax import toml
from pnol_jax.config import ExperimentConfig
from pnol_jax.errors import InputError


def load_config(path: str, overrides: Sequence[str]) -> ExperimentConfig:
    """The training config of a file, with overrides.

    Raises:
        InputError: as `toml.load`, or the file is a study's.
    """
    if "search" in toml.read(path):
        raise InputError(f"{path}: got a study, expected a training config; python -m experiments.tune {path}")
    return toml.load(path, ExperimentConfig, overrides)


def run(main: Callable[[], int]) -> None:
    """Call a command's main function and leave with its status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # so that it stays in order with what goes to stderr
    try:
        status = main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        status = 130  # as a shell says it
    sys.exit(status)
