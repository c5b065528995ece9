"""The devices of this process that are served on."""

import jax

from pnol_jax.errors import InputError


def served_devices(number: int | None) -> list[jax.Device]:
    """The first so many of those that JAX has here; all if no number is given.

    Raises:
        InputError: there are fewer.
    """
    devices = jax.local_devices()
    if number is not None and number > len(devices):
        raise InputError(f"devices: got {number}, expected at most {len(devices)}, what JAX has here")
    return list(devices[:number])
