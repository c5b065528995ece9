"""How a calibrator is written down: arrays by dotted name, and plain data; checked when read back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from pnol_jax.errors import InputError

Arrays = dict[str, jax.Array]
Metadata = dict[str, Any]


def read_array(arrays: Mapping[str, Any], name: str) -> jax.Array:
    """The array of that name, traced or not."""
    if name not in arrays:
        raise InputError(f"calibration: got no array {name!r}, expected it beside the weights")
    return jnp.asarray(arrays[name])


def read_cases(metadata: Mapping[str, Any]) -> int:
    """The number of calibration cases."""
    cases = metadata.get("cases")
    if not isinstance(cases, int) or cases < 1:
        raise InputError(f"calibration.cases: got {cases!r}, expected a positive whole number")
    return cases
