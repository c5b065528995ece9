"""How every command ends: a wrong input is one line and exit status 2."""

import sys
from collections.abc import Callable

from pnol_jax.errors import InputError


def run(main: Callable[[], int]) -> None:
    """Call a command's main function and leave with its status."""
    try:
        status = main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    sys.exit(status)
